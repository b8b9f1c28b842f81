"""What each benchmark can be asked; the fields are the flags of ``noprop benchmark``."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from noprop_dist.config.fields import POSITIVE, Bounds, Checked, Trait, at_least, option
from noprop_dist.errors import UserError

ScalingPart = Literal["workers", "traffic", "memory", "simulated", "sleepers"]
_AS_IN_TRAIN = "as in noprop train"


@dataclass(frozen=True, kw_only=True)
class Benchmark(Checked):
    """What every benchmark takes.

    Raises:
        UserError: a number too small, or numbers that do not go together.
    """

    json: bool = option(False, "output", "print the result as one JSON object on the last line")


@dataclass(frozen=True, kw_only=True)
class EngineBenchmark(Benchmark):
    """Block-images/s of the engine against a plain eager float32 loop."""

    steps: int = option(20, "benchmark", "steps of one block in one measurement", at_least(1))
    repeats: int = option(5, "benchmark", "measurements of each side, alternating", at_least(1))
    batch_size: int = option(128, "benchmark", "images per step", at_least(1))
    threads: int = option(2, "benchmark", "CPU threads that each side may use", at_least(1))
    cpus_per_worker: int = option(
        1,
        "benchmark",
        "threads of one of the engine's units; as many units run at once as fit",
        at_least(1),
    )

    def __post_init__(self) -> None:
        """Check every value."""
        super().__post_init__()
        if self.threads % self.cpus_per_worker:
            raise UserError(
                f"--threads {self.threads} must be a multiple of --cpus-per-worker "
                f"{self.cpus_per_worker}."
            )


@dataclass(frozen=True, kw_only=True)
class GpuBenchmark(Benchmark):
    """How full blocks keep a GPU: eager and recorded, alone and side by side, and on Ray."""

    device: str = option("cuda", "benchmark", "cuda, or cpu to see that it runs")
    steps: int = option(200, "benchmark", "steps of one block in one measurement", at_least(1))
    batch_size: int = option(128, "benchmark", "images per step", at_least(1))
    num_blocks: int = option(10, "benchmark", "T", at_least(1))
    at_once: tuple[int, ...] = option(
        (1, 2, 5, 10), "benchmark", "blocks that train side by side, each number a measurement"
    )
    ray: bool = option(
        True,
        "benchmark",
        "also one Ray worker with all blocks, and a worker with a share of the GPU for each",
    )
    resnet: bool = option(True, "benchmark", "also ResNet-18 blocks")

    def __post_init__(self) -> None:
        """Check every value."""
        super().__post_init__()
        if not all(1 <= count <= self.num_blocks for count in self.at_once):
            raise UserError(
                f"--at-once {' '.join(map(str, self.at_once))} must be numbers from 1 to "
                f"--num-blocks, {self.num_blocks}."
            )


@dataclass(frozen=True, kw_only=True)
class PredictBenchmark(Benchmark):
    """Pictures/s of ``noprop predict`` on one core against the bare forward passes."""

    images: int = option(
        1024, "benchmark", "PNG files of MNIST's shape that are classified", at_least(1)
    )
    repeats: int = option(3, "benchmark", "measurements of each side, alternating", at_least(1))
    num_blocks: int = option(10, "benchmark", "T", at_least(1))
    batch_size: int = option(256, "benchmark", "pictures computed at once", at_least(1))


@dataclass(frozen=True, kw_only=True)
class DecodeBenchmark(Benchmark):
    """Pictures/s of reading class folders against Pillow alone, on all cores."""

    images: int = option(2000, "benchmark", "JPEG files in class folders", at_least(100))
    side: int = option(224, "benchmark", "their height and width", at_least(8))
    repeats: int = option(5, "benchmark", "measurements of each side, alternating", at_least(1))


@dataclass(frozen=True, kw_only=True)
class ScalingBenchmark(Benchmark):
    """What limits the number of workers, on a private Ray cluster and with simulated ones."""

    parts: tuple[ScalingPart, ...] = option(
        get_args(ScalingPart),
        "benchmark",
        "what to measure; workers: block-images/s of one to many Ray workers and of a plain "
        "PyTorch loop; traffic: what goes through the object store; memory: what a worker has for "
        "itself; simulated: how busy the coordinator keeps workers that are timers; sleepers: the "
        "same for Ray workers that sleep",
    )
    workers: int = option(2, "benchmark", "most workers; each has one thread", at_least(1))
    units: int = option(2, "benchmark", "units of each worker in one measurement", at_least(1))
    steps: int = option(40, "benchmark", "steps of a unit", at_least(1))
    repeats: int = option(
        3, "benchmark", "measurements of each number of workers, alternating", at_least(1)
    )
    batch_size: int = option(128, "benchmark", "images per step", at_least(1))
    data_mib: int = option(
        300, "benchmark", "MiB of the data set that every worker reads, for memory", at_least(1)
    )
    simulated_workers: int = option(1000, "benchmark", "timers", at_least(1))
    simulated_blocks: int = option(
        1000, "benchmark", "T; at least as many, so that every timer has work", at_least(1)
    )
    unit_seconds: tuple[float, ...] = option(
        (1.0, 0.5, 0.2, 0.1, 0.05), "benchmark", "lengths of their units"
    )
    sleepers: int = option(24, "benchmark", "Ray workers that sleep", at_least(1))
    sleep_seconds: float = option(0.2, "benchmark", "length of their units", POSITIVE)
    seconds: int = option(
        10, "benchmark", "how long each measurement of timers and sleepers takes", at_least(1)
    )

    def __post_init__(self) -> None:
        """Check every value."""
        super().__post_init__()
        if not self.parts:
            raise UserError(f"--parts needs at least one of {', '.join(get_args(ScalingPart))}.")
        for length in self.unit_seconds:
            if not 0 < length < math.inf:
                raise UserError(f"a unit must take a positive number of seconds, got {length:g}.")
        if self.simulated_blocks < self.simulated_workers:
            raise UserError(
                f"--simulated-blocks {self.simulated_blocks} leaves some of --simulated-workers "
                f"{self.simulated_workers} without work: give at least as many."
            )


@dataclass(frozen=True, kw_only=True)
class SharingBenchmark(Benchmark):
    """Ways to train learned class embeddings over the blocks, at the same budget."""

    dataset: str = option("digits", "benchmark", _AS_IN_TRAIN)
    images: int = option(6000, "benchmark", "Training images", at_least(1))
    epochs: int = option(10, "benchmark", "epochs of every block", at_least(1))
    seeds: int = option(1, "benchmark", "runs of each way, with seeds 0, 1, ", at_least(1))
    num_blocks: int = option(10, "benchmark", "T", at_least(1))
    embedding_dim: int = option(64, "benchmark", "D", at_least(1))
    batch_size: int = option(128, "benchmark", "images per step", at_least(1))
    freeze_after: int = option(
        2, "benchmark", "rounds of averaging in the way that freezes", at_least(1)
    )
    alpha_bar_max: float = option(
        0.99,
        "benchmark",
        "alpha_bar[T]; near 1 the last block's weight is large",
        Bounds(above=0, below=1),
    )
    workers: int = option(
        2, "benchmark", "units at once, where blocks do not wait for each other", at_least(1)
    )


@dataclass(frozen=True, kw_only=True)
class ChaosBenchmark(Benchmark):
    """A run that is killed at, against the same run left alone."""

    every: float = option(30.0, "benchmark", "seconds between two faults", POSITIVE)
    faults: tuple[Literal["kill", "stop", "node", "coordinator"], ...] = option(
        ("kill",),
        "benchmark",
        "what happens, by chance; kill and stop: SIGKILL, or SIGSTOP and SIGCONT, to a worker; "
        "node: a node leaves and another joins; coordinator: SIGKILL, then the same command again",
    )
    seed: int = option(0, "benchmark", "of the faults' order and victims", at_least(0))
    dataset: str = option("digits", "benchmark", _AS_IN_TRAIN)
    epochs: int = option(
        100, "benchmark", "epochs of every block; they set how long both runs take", at_least(1)
    )
    num_blocks: int = option(10, "benchmark", "T", at_least(1))
    embedding_type: Literal["one-hot", "learned", "prototype"] = option(
        "one-hot", "benchmark", _AS_IN_TRAIN
    )
    workers: int = option(2, "benchmark", "each has one thread", at_least(1))
    spares: int = option(
        1, "benchmark", "warm workers per node that stand in for dead ones", at_least(0)
    )
    folder: str | None = option(
        None,
        "output",
        "keep the run folders undisturbed and disturbed here; default: keep none",
        traits=Trait.LOCAL,
    )

    def __post_init__(self) -> None:
        """Check every value."""
        super().__post_init__()
        if not self.faults:
            raise UserError("--faults needs at least one of kill, stop, node and coordinator.")
        if "node" in self.faults and self.workers < 2:
            raise UserError("--faults node needs --workers of at least 2: one node has to stay.")

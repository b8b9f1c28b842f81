"""What each benchmark can be asked; the fields are the flags of ``jobs/benchmark.py``."""

import math
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, get_args

from noprop_dist.config.fields import flag
from noprop_dist.errors import UserError

ScalingPart = Literal["workers", "traffic", "memory", "simulated", "sleepers"]


@dataclass(frozen=True, kw_only=True)
class _Counts:
    LEAST: ClassVar[dict[str, int]] = {}  # of a count, where it is not 1

    def check(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            UserError: a number too small, or numbers that do not go together.
        """
        for f in fields(self):
            value = getattr(self, f.name)
            least = self.LEAST.get(f.name, 1)
            if type(value) is int and value < least:
                raise UserError(f"{flag(f.name)} must be at least {least}, got {value}.")


@dataclass(frozen=True, kw_only=True)
class EngineBenchmark(_Counts):
    """Block-images/s of the engine against a plain eager float32 loop.

    Attributes:
        steps: Steps of one block in one measurement.
        repeats: Measurements of each side, alternating.
        batch_size: Images per step.
        threads: CPU threads that each side may use.
        cpus_per_worker: Threads of one of the engine's units; as many units run at once as fit.
    """

    steps: int = 20
    repeats: int = 5
    batch_size: int = 128
    threads: int = 2
    cpus_per_worker: int = 1

    def check(self) -> None:
        """See the base."""
        super().check()
        if self.threads % self.cpus_per_worker:
            raise UserError(
                f"--threads {self.threads} must be a multiple of --cpus-per-worker "
                f"{self.cpus_per_worker}."
            )


@dataclass(frozen=True, kw_only=True)
class GpuBenchmark(_Counts):
    """How full blocks keep a GPU: eager and recorded, alone and side by side, and on Ray.

    Attributes:
        device: cuda, or cpu to see that it runs.
        steps: Steps of one block in one measurement.
        batch_size: Images per step.
        num_blocks: T.
        at_once: Blocks that train side by side, each number a measurement.
        ray: Also one Ray worker with all blocks, and a worker with a share of the GPU for each.
        resnet: Also ResNet-18 blocks.
    """

    device: str = "cuda"
    steps: int = 200
    batch_size: int = 128
    num_blocks: int = 10
    at_once: tuple[int, ...] = (1, 2, 5, 10)
    ray: bool = True
    resnet: bool = True

    def check(self) -> None:
        """See the base."""
        super().check()
        if not all(1 <= count <= self.num_blocks for count in self.at_once):
            raise UserError(
                f"--at-once {' '.join(map(str, self.at_once))} must be numbers from 1 to "
                f"--num-blocks, {self.num_blocks}."
            )


@dataclass(frozen=True, kw_only=True)
class PredictBenchmark(_Counts):
    """Pictures/s of ``noprop predict`` on one core against the bare forward passes of the blocks.

    Attributes:
        images: PNG files of MNIST's shape that are classified.
        repeats: Measurements of each side, alternating.
        num_blocks: T.
        batch: Pictures computed at once.
    """

    images: int = 1024
    repeats: int = 3
    num_blocks: int = 10
    batch: int = 256


@dataclass(frozen=True, kw_only=True)
class ScalingBenchmark(_Counts):
    """What limits the number of workers, on a private Ray cluster and with simulated ones.

    Attributes:
        parts: What to measure; workers: block-images/s of one to many Ray workers and of a plain
            PyTorch loop; traffic: what goes through the object store; memory: what a worker has
            for itself; simulated: how busy the coordinator keeps workers that are timers;
            sleepers: the same for Ray workers that sleep.
        workers: Most workers; each has one thread.
        units: Units of each worker in one measurement.
        steps: Steps of a unit.
        repeats: Measurements of each number of workers, alternating.
        batch_size: Images per step.
        data_mib: MiB of the data set that every worker reads, for memory.
        simulated_workers: Timers.
        simulated_blocks: T; at least as many, so that every timer has work.
        unit_seconds: Lengths of their units.
        sleepers: Ray workers that sleep.
        sleep_seconds: Length of their units.
        seconds: How long each measurement of timers and sleepers takes.
    """

    parts: tuple[ScalingPart, ...] = get_args(ScalingPart)
    workers: int = 2
    units: int = 2
    steps: int = 40
    repeats: int = 3
    batch_size: int = 128
    data_mib: int = 300
    simulated_workers: int = 1000
    simulated_blocks: int = 1000
    unit_seconds: tuple[float, ...] = (1.0, 0.5, 0.2, 0.1, 0.05)
    sleepers: int = 24
    sleep_seconds: float = 0.2
    seconds: int = 10

    def check(self) -> None:
        """See the base."""
        super().check()
        if not self.parts:
            raise UserError(f"--parts needs at least one of {', '.join(get_args(ScalingPart))}.")
        for length in (*self.unit_seconds, self.sleep_seconds):
            if not 0 < length < math.inf:
                raise UserError(f"a unit must take a positive number of seconds, got {length:g}.")
        if self.simulated_blocks < self.simulated_workers:
            raise UserError(
                f"--simulated-blocks {self.simulated_blocks} leaves some of --simulated-workers "
                f"{self.simulated_workers} without work: give at least as many."
            )


@dataclass(frozen=True, kw_only=True)
class SharingBenchmark(_Counts):
    """Ways to train learned class embeddings over the blocks, at the same budget.

    Attributes:
        dataset: As in ``noprop train``.
        images: Training images.
        epochs: Epochs of every block.
        seeds: Runs of each way, with seeds 0, 1, ...
        num_blocks: T.
        embedding_dim: D.
        batch_size: Images per step.
        freeze_after: Rounds of averaging in the way that freezes.
        alpha_bar_max: alpha_bar[T]; near 1 the last block's weight is large.
        workers: Units at once, where blocks do not wait for each other.
    """

    dataset: str = "digits"
    images: int = 6000
    epochs: int = 10
    seeds: int = 1
    num_blocks: int = 10
    embedding_dim: int = 64
    batch_size: int = 128
    freeze_after: int = 2
    alpha_bar_max: float = 0.99
    workers: int = 2


@dataclass(frozen=True, kw_only=True)
class ChaosBenchmark(_Counts):
    """A run that is killed at, against the same run left alone.

    Attributes:
        every: Seconds between two faults.
        faults: What happens, by chance; kill and stop: SIGKILL, or SIGSTOP and SIGCONT, to a
            worker; node: a node leaves and another joins; coordinator: SIGKILL, then the same
            command again.
        seed: Of the faults' order and victims.
        dataset: As in ``noprop train``.
        epochs: Epochs of every block; they set how long both runs take.
        num_blocks: T.
        embedding_type: As in ``noprop train``.
        workers: Each has one thread.
        spares: Warm workers per node that stand in for dead ones.
    """

    LEAST: ClassVar[dict[str, int]] = {"seed": 0, "spares": 0}

    every: float = 30.0
    faults: tuple[Literal["kill", "stop", "node", "coordinator"], ...] = ("kill",)
    seed: int = 0
    dataset: str = "digits"
    epochs: int = 100
    num_blocks: int = 10
    embedding_type: Literal["one-hot", "learned", "prototype"] = "one-hot"
    workers: int = 2
    spares: int = 1

    def check(self) -> None:
        """See the base."""
        super().check()
        if self.every <= 0:
            raise UserError(f"--every must be above 0, got {self.every:g}.")
        if not self.faults:
            raise UserError("--faults needs at least one of kill, stop, node and coordinator.")
        if "node" in self.faults and self.workers < 2:
            raise UserError("--faults node needs --workers of at least 2: one node has to stay.")

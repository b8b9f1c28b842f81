"""How full blocks keep a GPU: alone, side by side, recorded as graphs, and on Ray's workers."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from noprop_dist.benchmarks.benchmark_options import GpuBenchmark
from noprop_dist.benchmarks.training_speed import plain_loop, random_job
from noprop_dist.config import TrainConfig
from noprop_dist.distributed.ray_backend import ray_backend
from noprop_dist.engine.executor import Executor, run_all
from noprop_dist.engine.job import Job
from noprop_dist.engine.local import LocalExecutor
from noprop_dist.engine.resume import start_afresh
from noprop_dist.engine.runner import UnitRunner
from noprop_dist.engine.snapshot import Snapshot
from noprop_dist.engine.splits import Splits
from noprop_dist.engine.unit import Unit, UnitResult
from noprop_dist.model.device import resolve_device
from noprop_dist.record.progress import Progress
from noprop_dist.text import aligned, size

CIFAR = (3, 32, 32)


@dataclass(frozen=True)
class Measured:
    """One way to train the blocks.

    Attributes:
        name: what was measured.
        images_per_s: block-images per second of all blocks together.
        busy: share of the time in which the GPU computes, None where that is not known.
        peak_bytes: of the GPU's memory; 0 where another process had it, or on a CPU.
        sha256: of block 1 after the same steps.
    """

    name: str
    images_per_s: float
    busy: float | None = None
    peak_bytes: int = 0
    sha256: str = ""


def measure_gpu(options: GpuBenchmark) -> dict[str, Any]:
    """Train Fig. 6 blocks on random images of CIFAR's shape in several ways.

    Returns:
        ``device``, ``torch``, ``precision``, ``rows`` (a ``Measured`` each, as dicts), ``ratio`` of
        the best against the plain loop, ``same_bits`` over all rows that train the same blocks.
    """
    device = resolve_device(options.device)
    config = TrainConfig(
        num_blocks=options.num_blocks, batch_size=options.batch_size, val_fraction=0.0,
        device=options.device, cpus_per_worker=1,
    )  # fmt: skip
    job, splits = random_job(config, options.steps, device, CIFAR)
    rows = [_plain(splits, options, device)]
    for graphs in (False, True) if device.type == "cuda" else (False,):
        for at_once in options.at_once:
            name = f"{at_once} at once, {'recorded' if graphs else 'eager'}"
            rows.append(_local(name, job, splits, device, at_once, graphs=graphs))
    if options.ray:
        rows += [_on_ray(job, splits, workers) for workers in (1, options.num_blocks)]
    same = {row.sha256 for row in rows if row.sha256}
    if options.resnet:
        net, data = random_job(replace(config, block="resnet18"), options.steps, device, CIFAR)
        name = f"resnet18, {options.num_blocks} at once"
        rows.append(_local(name, net, data, device, options.num_blocks, graphs=True))
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else "CPU",
        "torch": torch.__version__,
        "precision": job.precision,
        "rows": [vars(row) for row in rows],
        "ratio": max(row.images_per_s for row in rows[1:]) / rows[0].images_per_s,
        "same_bits": len(same) == 1,
    }


def render(measured: dict[str, Any]) -> str:
    """The result as a table."""
    table = [
        [
            row["name"],
            f"{row['images_per_s']:,.0f}",
            "-" if row["busy"] is None else f"{row['busy']:.0%}",
            size(row["peak_bytes"]) if row["peak_bytes"] else "-",
            row["sha256"][:8] or "-",
        ]
        for row in measured["rows"]
    ]
    head = ["blocks", "block-images/s", "GPU busy", "peak memory", "sha256 of block 1"]
    said = "the same bits in all" if measured["same_bits"] else "NOT the same bits in all"
    return "\n".join(
        [
            f"{measured['device']}, torch {measured['torch']}, {measured['precision']}",
            *aligned([head, *table]),
            f"best against the plain loop: {measured['ratio']:.2f}; {said}",
        ]
    )


def _plain(splits: Splits, options: GpuBenchmark, device: torch.device) -> Measured:
    epoch = plain_loop(splits.train, options.batch_size, device)
    epoch()
    with _clock(device) as taken:
        epoch()
    return Measured("plain eager loop", len(splits.train) / taken[0])


def _local(
    name: str, job: Job, splits: Splits, device: torch.device, at_once: int, *, graphs: bool
) -> Measured:
    job = replace(job, config=replace(job.config, cuda_graphs=graphs))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    runner = UnitRunner(job, splits, device, at_once=at_once)
    with LocalExecutor(job, runner, slots=at_once) as executor:
        speed, snapshots = _epochs(executor, job, splits, device, at_once)
        busy = _busy(lambda: _train(executor, snapshots, job.steps_per_epoch), device)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return Measured(name, speed, busy, peak, _sha256(snapshots[0]))


def _on_ray(job: Job, splits: Splits, workers: int) -> Measured:
    config = replace(job.config, workers=workers, blocks_per_worker=job.spec.num_blocks // workers)
    if job.config.device != "cpu":
        config = replace(config, gpus_per_worker=1 / workers)
    job = replace(job, config=config)
    with (
        ray_backend(config, splits.nbytes) as backend,
        backend.executor(job, splits, Progress(), lambda *_, **__: None) as executor,
    ):
        executor.wait_for_workers(workers)
        # The driver's process computes nothing: the wall clock is all there is to wait for.
        speed, snapshots = _epochs(executor, job, splits, torch.device("cpu"), job.spec.num_blocks)
    name = f"Ray, {workers} worker{'s' * (workers > 1)} with {config.blocks_per_worker} each"
    return Measured(name, speed, sha256=_sha256(snapshots[0]))


def _epochs(
    executor: Executor, job: Job, splits: Splits, device: torch.device, at_once: int
) -> tuple[float, list[Snapshot]]:
    """Block-images/s of the second epoch of so many blocks, and their snapshots after it."""
    latest = start_afresh(job, splits).latest
    snapshots = [latest[t] for t in range(1, at_once + 1)]
    snapshots = _train(executor, snapshots, job.steps_per_epoch)
    with _clock(device) as taken:
        snapshots = _train(executor, snapshots, job.steps_per_epoch)
    return at_once * len(splits.train) / taken[0], snapshots


def _train(executor: Executor, snapshots: Sequence[Snapshot], steps: int) -> list[Snapshot]:
    results = run_all(executor, [Unit(snapshot, steps) for snapshot in snapshots])
    ended = [result.snapshot for result in results if isinstance(result, UnitResult)]
    return sorted(ended, key=lambda snapshot: snapshot.t)


@contextmanager
def _clock(device: torch.device) -> Iterator[list[float]]:
    """Seconds that what is inside takes, the device's work with it."""
    taken: list[float] = []
    started = time.perf_counter()
    yield taken
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    taken.append(time.perf_counter() - started)


def _busy(train: Callable[[], object], device: torch.device) -> float | None:
    """Share of the time in which at least one kernel runs."""
    if device.type != "cuda":
        return None
    with _clock(device) as taken, profile(activities=[ProfilerActivity.CUDA]) as seen:
        train()
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in seen.events() or []
        if event.device_type.name == "CUDA"
    )
    covered = end = 0.0
    for start, stop in spans:
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered / 1e6 / taken[0]


def _sha256(snapshot: Snapshot) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(snapshot.part("block").items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

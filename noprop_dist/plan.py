"""The dry run: what a run would be, need and take, and nothing left behind."""

import time
from statistics import fmean
from typing import Any

from noprop_dist.backends import open_backend
from noprop_dist.config import TrainConfig
from noprop_dist.engine.cost import Cost
from noprop_dist.engine.estimate import evaluation_seconds, training_seconds
from noprop_dist.engine.executor import WAIT_S, Backend, Executor, run_all
from noprop_dist.engine.job import Job
from noprop_dist.engine.resume import find_start, first_shared_of
from noprop_dist.engine.runner import WorkFailedError
from noprop_dist.engine.snapshot import Snapshot, first_snapshot
from noprop_dist.engine.speed import Speed, SpeedUnit
from noprop_dist.engine.splits import Splits
from noprop_dist.engine.unit import Unit
from noprop_dist.errors import UserError
from noprop_dist.record.places import check_places
from noprop_dist.record.progress import HOUR_S, SHORTER, Progress
from noprop_dist.record.store import Store
from noprop_dist.text import duration, printable, size
from noprop_dist.training import job_on, prepare

TRY_S = 2.0  # of timing a block; starting Ray takes some six more
DRAWING_S = 5.0  # of all pictures on two cores, whatever the run
ROUND_S = 0.5  # units of one step that take longer are tried once


def dry_run(config: TrainConfig, seeds: int = 1) -> dict[str, Any]:
    """Check everything, time a block on every worker, and estimate the run; leave nothing behind.

    The estimate holds reading the data and the start of the workers, training, evaluation after
    each epoch, that of the test split at the end, and the pictures.

    Args:
        config: the options.
        seeds: how many such runs there will be, one after the other.

    Raises:
        UserError: what a real run would refuse.
    """
    check_places(config)
    began = time.perf_counter()
    config, splits = prepare(config)
    with open_backend(config, splits.nbytes) as backend:
        job = job_on(backend, config, splits)
        needed, free = backend.memory(config, job.spec, splits.nbytes)
        loaded, start = find_start(job, Store(job.config.folder))
        slots = backend.slots(config, job.spec)
        speed, unit_s, ready = _try_out(job, splits, backend, slots)
    steps_done = sum(loaded.state["steps"].values()) if loaded else 0
    steps = job.total_steps * len(job.config.chosen) - steps_done
    epochs = job.config.epochs - (loaded.state["round"] if loaded else 0)
    rows = {"val": len(splits.val), "test": len(splits.test)}
    evaluation = evaluation_seconds(job, speed, slots, epochs=epochs, **rows)
    training = training_seconds(job, speed, unit_s, slots, steps=steps, epochs=epochs)
    drawing = DRAWING_S if config.plots and config.blocks is None else 0.0
    seconds = seeds * (ready - began + training + evaluation + drawing)
    cost = Cost.of(job.config, job.spec)
    return {
        "data": splits.told,
        "training_images": len(splits.train),
        "validation_images": len(splits.val),
        "test_images": len(splits.test),
        "skipped_images": splits.num_skipped,
        "sample_shape": list(job.spec.sample_shape),
        "classes": job.spec.num_classes,
        "embedding_dim": job.spec.embed_dim,
        "block": job.spec.block,
        **cost.told(),
        "data_size_bytes": sum(s.nbytes for s in (splits.train, splits.val, splits.test)),
        "block_snapshot_bytes": cost.snapshot,
        "peak_on_gpu_bytes": speed.peak_bytes or None,
        "memory_needed_bytes": needed,
        "memory_free_bytes": free,
        "goes_on_from": start.checkpoint,
        "steps": steps,
        "device": str(backend.device),
        "precision": job.precision,
        "units_at_once": slots,
        "starting_seconds": round(ready - began, 3),
        "evaluation_seconds": round(evaluation, 3),
        "drawing_seconds": drawing or None,
        "seeds": seeds if seeds > 1 else None,
        "estimated_seconds": round(seconds, 3),
        "advice": SHORTER if seconds > HOUR_S else None,
    }


def _try_out(job: Job, splits: Splits, backend: Backend, slots: int) -> tuple[Speed, float, float]:
    """How fast blocks are with as many at work as in the run, and what a unit takes besides.

    Third, when all workers had started.
    """
    shared = first_shared_of(job, splits)
    units = [SpeedUnit(t, shared, TRY_S) for t in range(1, slots + 1)]
    with backend.executor(job, splits, Progress(), lambda *_, **__: None) as executor:
        _wait_for(executor, slots)
        ready = time.perf_counter()
        try:
            results = run_all(executor, units)
            snapshots = [first_snapshot(job, unit.t, shared) for unit in units]
            unit_s = _timed(executor, snapshots)
            if unit_s < ROUND_S:  # workers have what they make once; a long step hides it
                unit_s = _timed(executor, snapshots)
        except WorkFailedError as error:
            raise UserError(f"a block cannot be trained: {error}.") from error
    speeds = [result for result in results if isinstance(result, Speed)]
    mean = Speed(
        step_s=fmean(speed.step_s for speed in speeds),
        row_s=fmean(speed.row_s for speed in speeds),
        draw_s=fmean(speed.draw_s for speed in speeds),
        peak_bytes=max(speed.peak_bytes for speed in speeds),
    )
    return mean, max(0.0, unit_s - mean.step_s), ready


def _timed(executor: Executor, snapshots: list[Snapshot]) -> float:
    """Seconds that units of one step take, one from each snapshot."""
    started = time.perf_counter()
    run_all(executor, [Unit(snapshot, 1) for snapshot in snapshots])
    return time.perf_counter() - started


def _wait_for(executor: Executor, slots: int) -> None:
    """Let workers start, which have work to share: alone each would be faster than in the run."""
    while executor.capacity < slots:
        executor.wait(WAIT_S)


def plan(report: dict[str, Any]) -> str:
    """What a dry run found, for people."""
    shown: dict[str, str] = {}
    for name, value in report.items():
        if value is None:
            continue
        if name.endswith("_bytes"):
            shown[name.removesuffix("_bytes")] = size(value)
        elif name.endswith("_seconds"):
            shown[name.removesuffix("_seconds") + " time"] = duration(value)
        elif name == "sample_shape":
            shown[name] = "x".join(map(str, value))
        else:
            shown[name] = f"{value:,}" if isinstance(value, int) else printable(str(value))
    width = max(map(len, shown))
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {text}" for name, text in shown.items())

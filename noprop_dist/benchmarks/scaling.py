"""What limits the number of workers: measured on Ray, on this machine, and with simulated ones."""

import os
import statistics
import time
from dataclasses import replace
from typing import Any

import torch

from noprop_dist.benchmarks.benchmark_options import ScalingBenchmark
from noprop_dist.benchmarks.memory import measure_memory, render_memory
from noprop_dist.benchmarks.simulated import measure_simulated, render_simulated
from noprop_dist.benchmarks.sleepers import measure_sleepers, render_sleepers
from noprop_dist.benchmarks.traffic import measure_traffic, render_traffic
from noprop_dist.benchmarks.training_speed import plain_loop, random_job, time_plain
from noprop_dist.config import TrainConfig
from noprop_dist.distributed.cluster import WorkerNeeds, connected
from noprop_dist.distributed.ray_executor import RayExecutor
from noprop_dist.distributed.worker_client import BlockClient
from noprop_dist.engine.executor import run_all
from noprop_dist.engine.job import Job
from noprop_dist.engine.resume import start_afresh
from noprop_dist.engine.splits import Splits
from noprop_dist.engine.unit import Unit, UnitResult


def measure_scaling(options: ScalingBenchmark) -> dict[str, Any]:
    """Measure the parts that are asked for.

    Returns:
        What ``measure_workers`` returns, and, by name of the part, what the others do; ``load``,
        the machine's load average at the end.

    Raises:
        UserError: this machine does not hold so many workers, or so much data.
    """
    measured: dict[str, Any] = {}
    if "workers" in options.parts:
        measured |= measure_workers(options)
    for part, (measure, _) in OTHERS.items():
        if part in options.parts:
            measured[part] = measure(options)
    return measured | {"torch": torch.__version__, "load": os.getloadavg()[0]}


def render(measured: dict[str, Any]) -> str:
    """The result in a few lines."""
    lines = render_workers(measured) if "workers" in measured else []
    for part, (_, render_part) in OTHERS.items():
        if part in measured:
            lines += render_part(measured[part])
    return "\n".join(lines)


OTHERS = {
    "traffic": (measure_traffic, render_traffic),
    "memory": (measure_memory, render_memory),
    "simulated": (measure_simulated, render_simulated),
    "sleepers": (measure_sleepers, render_sleepers),
}


def measure_workers(options: ScalingBenchmark) -> dict[str, Any]:
    """Time 1..W workers and the plain loop, in turn.

    Returns:
        ``workers``: by number of workers, medians of ``images_per_s`` (block-images), ``speedup``
        against one worker in the same turn, ``efficiency`` (speedup per worker) and ``outside``,
        the share of the workers' time that is in no unit; ``plain``: block-images/s of the plain
        loop with as many threads as there are workers, and ``against_plain``, the ratio to it.

    Raises:
        UserError: this machine does not hold so many workers.
    """
    config, cpu = TrainConfig(batch_size=options.batch_size, val_fraction=0.0), torch.device("cpu")
    job, splits = random_job(config, options.steps, cpu)
    plain = plain_loop(splits.train, options.batch_size, cpu)
    turns: list[dict[int, tuple[float, float]]] = []
    plain_speeds = []
    needs = WorkerNeeds()
    with connected(replace(job.config, workers=options.workers, device="cpu"), splits.nbytes):
        for turn in range(options.repeats + 1):
            counts = range(1, options.workers + 1)
            measured = {w: _time_workers(job, splits, needs, w, options) for w in counts}
            speed = time_plain(plain, len(splits.train), options.workers)
            if turn:  # the first turn warms up
                turns.append(measured)
                plain_speeds.append(speed)
    return _summary(options, job, turns, plain_speeds)


def _summary(
    options: ScalingBenchmark,
    job: Job,
    turns: list[dict[int, tuple[float, float]]],
    plain_speeds: list[float],
) -> dict[str, Any]:
    rows = {}
    for w in range(1, options.workers + 1):
        speedup = statistics.median(turn[w][0] / turn[1][0] for turn in turns)
        rows[str(w)] = {
            "images_per_s": statistics.median(turn[w][0] for turn in turns),
            "speedup": speedup,
            "efficiency": speedup / w,
            "outside": statistics.median(turn[w][1] for turn in turns),
        }
    most = options.workers
    ratios = [turn[most][0] / p for turn, p in zip(turns, plain_speeds, strict=True)]
    return {
        "workers": rows,
        "plain": statistics.median(plain_speeds),
        "against_plain": statistics.median(ratios),
        "precision": job.precision,
    }


def render_workers(measured: dict[str, Any]) -> list[str]:
    """The result as a table."""
    lines = ["workers  block-images/s  speedup  efficiency  outside units"]
    lines += [
        f"{w:>7}{row['images_per_s']:>16,.0f}{row['speedup']:>9.2f}{row['efficiency']:>12.0%}"
        f"{row['outside']:>15.1%}"
        for w, row in measured["workers"].items()
    ]
    lines.append(f"  plain{measured['plain']:>16,.0f}")
    lines.append(f"the most workers against the plain loop: {measured['against_plain']:.2f}")
    return lines


def _time_workers(
    job: Job, splits: Splits, needs: WorkerNeeds, workers: int, options: ScalingBenchmark
) -> tuple[float, float]:
    """Block-images/s of so many workers, and the share of their time outside units."""
    rounds = start_afresh(job, splits)
    # More workers than blocks train a block twice, from the same snapshot.
    blocks = [rounds.latest[1 + i % len(rounds.blocks)] for i in range(workers)]
    with RayExecutor(BlockClient(job, splits), needs, limit=workers) as executor:
        executor.wait_for_workers(workers)
        run_all(executor, [Unit(snapshot, 2) for snapshot in blocks])
        start = time.perf_counter()
        inside = 0.0
        for _ in range(options.units):
            results = run_all(executor, [Unit(s, options.steps) for s in blocks])
            found = [r for r in results if isinstance(r, UnitResult)]
            inside += sum(r.seconds for r in found)
        seconds = time.perf_counter() - start
    images = options.units * workers * options.steps * options.batch_size
    return images / seconds, 1 - inside / (workers * seconds)

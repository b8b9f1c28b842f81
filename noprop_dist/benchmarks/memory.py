"""What a worker has in memory for itself alone, against the data that all of a node share."""

import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noprop_dist.benchmarks.benchmark_options import ScalingBenchmark
from noprop_dist.config import TrainConfig
from noprop_dist.data import Dataset, Split
from noprop_dist.distributed.cluster import WorkerNeeds, connected
from noprop_dist.distributed.ray_executor import RayExecutor
from noprop_dist.distributed.worker_client import BlockClient
from noprop_dist.distributed.worker_listener import WorkerListener
from noprop_dist.distributed.worker_status import Place
from noprop_dist.engine.executor import run_all
from noprop_dist.engine.job import Job, make_job
from noprop_dist.engine.resume import start_afresh
from noprop_dist.engine.splits import Splits, make_splits
from noprop_dist.engine.unit import Unit

FEATURES = 4096  # of a row: one epoch reads all the data and takes few steps
LITTLE_MIB = 2  # data to compare with


class _Places(WorkerListener):
    def __init__(self) -> None:
        self.pids: list[int] = []

    def worker_started(self, worker: str, place: Place, *, spare: bool) -> None:
        """See ``WorkerListener``."""
        self.pids.append(place.pid)


def measure_memory(options: ScalingBenchmark) -> dict[str, Any]:
    """Let every worker read all of a data set, once a large and once a small one.

    Returns:
        MiB: ``data``, and ``unique`` and ``shared`` of each worker, what it has for itself and what
        others map too; the same of the comparison, ``little_data`` and so on; ``unique_growth``
        and ``shared_growth``, what the large data set adds to either (medians).

    Raises:
        UserError: this machine does not hold so many workers, or so much data.
    """
    workers = max(2, options.workers)  # what a lone worker maps counts as its own
    config = TrainConfig(device="cpu", workers=workers)
    with connected(config, options.data_mib * 2**20) as needs:
        little_unique, little_shared = _memory_of_workers(LITTLE_MIB, needs, workers)
        unique, shared = _memory_of_workers(options.data_mib, needs, workers)
    return {
        "data": options.data_mib,
        "unique": unique,
        "shared": shared,
        "little_data": LITTLE_MIB,
        "little_unique": little_unique,
        "little_shared": little_shared,
        "unique_growth": statistics.median(unique) - statistics.median(little_unique),
        "shared_growth": statistics.median(shared) - statistics.median(little_shared),
    }


def _memory_of_workers(
    data_mib: int, needs: WorkerNeeds, workers: int
) -> tuple[list[float], list[float]]:
    """Unique and shared MiB of each worker after an epoch."""
    job, splits = _vectors(data_mib, workers)
    rounds = start_afresh(job, splits)
    places = _Places()
    with RayExecutor(BlockClient(job, splits), needs, limit=workers, listener=places) as executor:
        executor.wait_for_workers(workers)
        run_all(executor, [Unit(s, job.steps_per_epoch) for s in rounds.latest.values()])
        found = [memory_of(pid) for pid in places.pids]
    return [m["Private"] for m in found], [m["Shared"] for m in found]


def memory_of(pid: int) -> dict[str, float]:
    """MiB of a process that it has alone ("Private") and that others map too ("Shared")."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = re.findall(r"^(Private|Shared)_(?:Clean|Dirty): +(\d+) kB$", text, re.MULTILINE)
    return {
        kind: sum(int(size) for name, size in sizes if name == kind) / 1024
        for kind in ("Private", "Shared")
    }


def _vectors(data_mib: int, num_blocks: int) -> tuple[Job, Splits]:
    rows = data_mib * 2**20 // (4 * FEATURES)
    x = np.random.default_rng(0).random((rows, FEATURES), dtype=np.float32)
    split = Split.from_arrays(x, np.arange(rows) % 10)
    nothing = split.select(np.arange(1))
    dataset = Dataset("random", tuple("0123456789"), split, nothing, photographs=False)
    config = TrainConfig(num_blocks=num_blocks, batch_size=64, val_fraction=0.0, device="cpu")
    splits = make_splits(config, dataset)
    return make_job(config, splits, torch.device("cpu")), splits


def render_memory(measured: dict[str, Any]) -> list[str]:
    """The result in a line."""
    own = ", ".join(f"{mib:,.0f}" for mib in measured["unique"])
    return [
        f"each worker has {own} MiB for itself; {measured['data']:,} MiB of data in place of "
        f"{measured['little_data']} add {measured['unique_growth']:,.0f} to it, and "
        f"{measured['shared_growth']:,.0f} to what all share",
    ]

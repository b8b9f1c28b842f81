"""How many bytes a block's epoch sends through the object store."""

import tempfile
from dataclasses import replace
from typing import Any

import torch

from noprop_dist.benchmarks.benchmark_options import ScalingBenchmark
from noprop_dist.benchmarks.training_speed import random_job
from noprop_dist.compare.on_ray.traffic import CountingClient, Traffic, num_bytes
from noprop_dist.config import TrainConfig
from noprop_dist.distributed.cluster import WorkerNeeds, connected
from noprop_dist.distributed.ray_executor import RayExecutor
from noprop_dist.engine.coordinator import Coordinator
from noprop_dist.engine.resume import start_afresh
from noprop_dist.record.events import EventLog
from noprop_dist.record.progress import Progress
from noprop_dist.record.run_record import Record
from noprop_dist.record.store import Store

EPOCHS = 2  # in the first one every block is new to its worker
BLOCKS = 2  # per worker


def measure_traffic(options: ScalingBenchmark) -> dict[str, Any]:
    """Train Fig. 6 blocks at MNIST's shape, with validation after every epoch, and count.

    Returns:
        Bytes by block and epoch: what ``Traffic`` counts; ``units``; ``snapshot``, the bytes
        of one block.

    Raises:
        UserError: this machine does not hold so many workers.
    """
    config = TrainConfig(batch_size=options.batch_size, val_fraction=0.0)
    job, splits = random_job(config, options.steps, torch.device("cpu"))
    blocks = BLOCKS * options.workers
    job = replace(
        job,
        config=replace(job.config, epochs=EPOCHS, num_blocks=blocks),
        spec=replace(job.spec, num_blocks=blocks),
    )
    splits = replace(splits, val=splits.train)
    rounds = start_afresh(job, splits)
    with (
        connected(replace(job.config, workers=options.workers, device="cpu"), splits.nbytes),
        tempfile.TemporaryDirectory(prefix="noprop-benchmark-") as folder,
    ):
        store = Store(folder)
        record = Record(store, EventLog(store), Progress())
        traffic = Traffic()
        client = CountingClient(job, splits, traffic=traffic)
        with RayExecutor(client, WorkerNeeds(), limit=options.workers) as executor:
            Coordinator(rounds, executor, record, num_val=len(splits.val)).run()
        snapshot = num_bytes(rounds.latest[1])
    counted = {name: value / (blocks * EPOCHS) for name, value in traffic.count.items()}
    return {"snapshot": snapshot, **counted}


def render_traffic(measured: dict[str, Any]) -> list[str]:
    """The result in a line."""
    mib = {name: value / 2**20 for name, value in measured.items()}
    return [
        f"object store, per block and epoch of {measured['units']:.1f} units, MiB: "
        f"{mib['to_coordinator']:.2f} to the coordinator ({mib['metrics']:.4f} of it metrics), "
        f"{mib['to_workers'] + mib['networks']:.2f} to workers ({mib['networks']:.2f} of it to "
        f"evaluate); a block has {mib['snapshot']:.2f}",
    ]

"""From a run's options to an executor on a cluster."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from ray.util.metrics import Gauge
from typing_extensions import override

from noprop_dist.config import TrainConfig
from noprop_dist.distributed.cluster import (
    WorkerNeeds,
    connected,
    count_slots,
    is_private,
    live_nodes,
    probe,
    slots_of,
)
from noprop_dist.distributed.ray_executor import RayExecutor
from noprop_dist.distributed.worker_client import BlockClient
from noprop_dist.distributed.worker_listener import WorkerListener
from noprop_dist.distributed.worker_status import Memory, Place, WorkerStatus
from noprop_dist.engine.cost import Cost, blocks_that_fit, check_memory
from noprop_dist.engine.executor import Backend
from noprop_dist.engine.job import Job
from noprop_dist.engine.splits import Splits
from noprop_dist.host import free_bytes
from noprop_dist.model.spec import ModelSpec
from noprop_dist.record.progress import Progress, UnitProgress


@dataclass(frozen=True)
class RayBackend(Backend):
    """A cluster that is connected.

    Attributes:
        needs: what a worker asks of it.
        device: of the workers.
        precision: that they compute in.
        private: whether it ends with the run.
        make_client: starts workers and speaks to them; a comparison counts what it sends.
        on_memory: told what memory a worker, by its name, says that it takes.
        splits_ref: where the object store has the run's data already, or None.
        gpu_bytes: free memory of a worker's GPU or its share of one; 0 on a CPU.
    """

    needs: WorkerNeeds
    device: torch.device
    precision: str
    private: bool
    make_client: Callable[[Job, Splits, Any], BlockClient] = BlockClient
    on_memory: Callable[[str, Memory], object] = lambda worker, memory: None
    splits_ref: Any = None
    gpu_bytes: int = 0

    def executor(
        self, job: Job, splits: Splits, progress: Progress, on_event: Callable[..., None]
    ) -> RayExecutor:
        """An executor for the run.

        Args:
            job: the run.
            splits: its data.
            progress: the live view.
            on_event: called with a name and fields for ``events.jsonl``.
        """
        config = job.config
        units_at_once = self.units_at_once(config, job.spec)
        job = replace(job, config=replace(config, blocks_per_worker=units_at_once))
        enough = -(-len(config.chosen) // units_at_once)
        spares = config.spares
        if spares is None:
            spares = 0 if self.needs.gpus or self.private else 1
        limit = min(enough, config.workers or enough)
        if self.needs.gpus and (idle := count_slots(self.needs) - limit) > 0:
            progress.message(f"{idle} of the cluster's places for workers have no block to train")
        return RayExecutor(
            self.make_client(job, splits, self.splits_ref),
            self.needs,
            limit=limit,
            spares=spares,
            units_at_once=units_at_once,
            own=limit == enough,
            listener=RunListener(progress, on_event, self.on_memory),
        )

    @override
    def slots(self, config: TrainConfig, spec: ModelSpec) -> int:
        at_once = self.units_at_once(config, spec)
        workers = self._workers(config, at_once, count_slots(self.needs))
        return min(workers * at_once, len(config.chosen))

    def units_at_once(self, config: TrainConfig, spec: ModelSpec) -> int:
        """How many blocks a worker trains at once: as few as all workers together need."""
        if config.blocks_per_worker is not None:
            return config.blocks_per_worker
        if not self.needs.gpus:
            return 1
        workers = max(1, min(count_slots(self.needs), config.workers or len(config.chosen)))
        needed = -(-len(config.chosen) // workers)
        return blocks_that_fit(config, spec, self.gpu_bytes, needed, Cost.on_gpu)

    def _workers(self, config: TrainConfig, at_once: int, fit: int) -> int:
        enough = -(-len(config.chosen) // at_once)
        return min(enough, config.workers or enough, fit)

    @override
    def memory(self, config: TrainConfig, spec: ModelSpec, data_bytes: int) -> tuple[int, int]:
        """See ``Backend``: workers of one node are counted together, a GPU's for itself."""
        units_at_once = self.units_at_once(config, spec)
        check = partial(check_memory, config, spec)
        here = free_bytes()
        if self.needs.gpus:
            check(here, 1, lambda cost, _: cost.coordinator)
            free = self.gpu_bytes
            return check(free, units_at_once, Cost.on_gpu), free
        if self.private:
            workers = self._workers(config, units_at_once, count_slots(self.needs))
            takes = partial(Cost.on_ray, units_at_once=units_at_once, data=data_bytes)
            return check(here, workers, takes), here
        check(here, 1, lambda cost, _: cost.coordinator)
        found = []
        for node in live_nodes():
            has = node["Resources"]
            workers = self._workers(config, units_at_once, slots_of(has, self.needs))
            free = int(has.get("memory", 0) + has.get("object_store_memory", 0))
            takes = partial(Cost.on_node, units_at_once=units_at_once, data=data_bytes)
            found.append((check(free, workers, takes), free))
        return max(found, key=lambda needed: needed[0] / max(needed[1], 1))


@contextmanager
def ray_backend(config: TrainConfig, data_bytes: int) -> Iterator[RayBackend]:
    """The cluster of ``RAY_ADDRESS``, or a private one that ends with this.

    Raises:
        UserError: the cluster cannot be reached or lacks what the run needs.
    """
    private = is_private()
    with connected(config, data_bytes) as needs:
        found = probe(config, needs)
        yield RayBackend(needs, found.device, found.precision, private, gpu_bytes=found.gpu_bytes)


class RunListener(WorkerListener):
    """Tells the live view, ``events.jsonl`` and Ray's metrics.

    The metrics are gauges by block: ``noprop_block_loss``, ``noprop_block_images_per_s``,
    ``noprop_block_units`` (done in this run) and ``noprop_block_restarts`` (workers lost).
    """

    def __init__(
        self,
        progress: Progress,
        on_event: Callable[..., None],
        on_memory: Callable[[str, Memory], object],
    ) -> None:
        self._progress, self._on_event, self._on_memory = progress, on_event, on_memory
        self._counts: dict[tuple[str, int], int] = {}
        self._peak_bytes = 0
        self._gauges = {
            name: Gauge(f"noprop_block_{name}", description=text, tag_keys=("block",))
            for name, text in (
                ("loss", "training loss, mean over the epoch so far, nats"),
                ("images_per_s", "training images per second"),
                ("units", "training units done"),
                ("restarts", "workers that died while they trained the block"),
            )
        }

    def _set(self, name: str, t: int, value: float) -> None:
        self._gauges[name].set(value, tags={"block": str(t)})

    def _count(self, name: str, t: int) -> None:
        self._counts[name, t] = self._counts.get((name, t), 0) + 1
        self._set(name, t, self._counts[name, t])

    @override
    def progress(self, progress: UnitProgress, worker: str, host: str) -> None:
        self._progress.unit_progress(progress, worker, host)
        self._set("loss", progress.t, progress.loss)
        self._set("images_per_s", progress.t, progress.images_per_s)

    @override
    def unit_done(self, t: int) -> None:
        self._count("units", t)
        self._set("restarts", t, self._counts.get(("restarts", t), 0))

    @override
    def worker_started(self, worker: str, place: Place, *, spare: bool) -> None:
        self._on_event("worker_started", worker=worker, **vars(place), spare=spare)

    @override
    def status(self, worker: str, status: WorkerStatus) -> None:
        if status.memory is not None:
            self._on_memory(worker, status.memory)
            self._peak_bytes = max(self._peak_bytes, status.memory.own_bytes)
        for note in status.notes:
            self._progress.message(note)

    @override
    def ended(self) -> None:
        if self._peak_bytes:
            self._on_event("peak_memory", bytes=self._peak_bytes)

    @override
    def worker_lost(self, worker: str, blocks: list[int], reason: str, seconds: float) -> None:
        lost: dict[str, Any] = {"reason": reason, "seconds": round(seconds, 4)}
        self._on_event("worker_lost", worker=worker, blocks=blocks, **lost)
        if blocks:
            which = ", ".join(map(str, blocks))
            self._progress.message(f"worker {worker} was lost; another takes block {which} over")
        for t in blocks:
            self._progress.worker_lost(t)
            self._count("restarts", t)

    @override
    def no_worker(self, seconds: float) -> None:
        self._progress.warn(
            f"no worker for {seconds:.0f} s: waiting for a device of the cluster; where none will "
            "come, stop the run and ask for less with --cpus-per-worker or --gpus-per-worker"
        )

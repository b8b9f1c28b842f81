"""From a run's options to an executor on a cluster."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from noprop_dist.distributed.cluster import WorkerNeeds, connected
from noprop_dist.distributed.executor import RayExecutor
from noprop_dist.engine.job import Job, Splits
from noprop_dist.engine.unit import UnitProgress


@contextmanager
def ray_executor(
    job: Job,
    splits: Splits,
    *,
    on_progress: Callable[[UnitProgress, str], None],
    on_event: Callable[..., None],
) -> Iterator[RayExecutor]:
    """An executor on the cluster of ``RAY_ADDRESS``, or on a private one that ends with it.

    Args:
        job: the run.
        splits: its data.
        on_progress: called with its worker's name when a block has got on.
        on_event: called with a name and fields for ``events.jsonl``.

    Raises:
        UserError: the cluster cannot be reached or lacks what the run needs.
    """
    config = job.config
    needs = WorkerNeeds(cpus=config.cpus_per_worker, gpus=config.gpus_per_worker)
    data_bytes = sum(s.nbytes for s in (splits.train, splits.val, splits.test))
    with (
        connected(config, needs, data_bytes),
        RayExecutor(
            job,
            splits,
            needs,
            limit=config.workers,
            on_progress=on_progress,
            on_event=on_event,
        ) as executor,
    ):
        yield executor

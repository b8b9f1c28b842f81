"""How each method is trained and measured, on a cluster that is connected."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from noprop_dist.compare.compare_options import CHECKPOINTED, NOPROP, SEQUENTIAL, SINGLE
from noprop_dist.compare.measurements import Measured
from noprop_dist.compare.on_ray.method_run import MethodEpoch, MethodTask
from noprop_dist.compare.on_ray.sequential_training import train_sequential
from noprop_dist.compare.on_ray.traffic import CountingClient, Traffic
from noprop_dist.compare.on_ray.twin_training import train_twin
from noprop_dist.compare.twin_network import untold
from noprop_dist.config import TrainConfig
from noprop_dist.distributed.cluster import count_slots
from noprop_dist.distributed.ray_backend import RayBackend
from noprop_dist.distributed.sent_data import for_nodes
from noprop_dist.engine.finish import TEST_DRAWS
from noprop_dist.engine.job import Job
from noprop_dist.engine.resume import first_class_embed
from noprop_dist.engine.splits import Splits
from noprop_dist.errors import UserError
from noprop_dist.model.rehearsal import count_flops
from noprop_dist.record.events import read_events
from noprop_dist.record.store import Store, inside
from noprop_dist.text import percent
from noprop_dist.training import train

Tell = Callable[[str], None]


def measure(
    method: str,
    backend: RayBackend,
    job: Job,
    splits: Splits,
    store: Store,
    folder: str,
    tell: Tell,
) -> Measured:
    """Train one method with one seed on ``job.config.workers`` devices.

    Args:
        method: of ``METHODS``.
        backend: the cluster.
        job: the run; what it is called and where it lives does not matter.
        splits: its data.
        store: the comparison's folder.
        folder: inside it, where a run may put its files; what is there goes.
        tell: told of every epoch.

    Raises:
        UserError: the method cannot be trained.
        StoppedError: NoProp was asked to stop.
    """
    workers = job.config.workers
    assert workers is not None
    if method == NOPROP:
        return _measure_noprop(backend, job, store, folder, workers)
    class_embed = first_class_embed(job, splits).numpy()
    # An epoch of the single block is T passes, as many operations as one of T blocks.
    passes = job.config.num_blocks if method == SINGLE else 1
    trained = _single(job) if method == SINGLE else job
    task = MethodTask(trained, for_nodes(splits), class_embed, TEST_DRAWS, method)
    on_epoch = partial(_tell_epoch, tell, trained)
    if method == SEQUENTIAL:
        epochs, ends = train_sequential(task, backend.needs, on_epoch)
    else:
        epochs, ends = train_twin(task, backend.needs, workers, on_epoch)
    # NCCL keeps to the machine's own ways between GPUs, which TCP's counters do not see.
    seen = method == SEQUENTIAL or backend.needs.gpus < 1
    sent = sum(worker.sent_bytes for epoch in epochs for worker in epoch)
    reduced = sum(epoch[0].reduced_bytes for epoch in epochs)
    epochs = epochs[passes - 1 :: passes]
    asked = replace(trained, spec=untold(trained.spec))
    return Measured(
        method,
        job.config.seed,
        workers,
        images=job.steps_per_epoch * job.config.batch_size,
        test_accuracy=ends[0].test_accuracy,
        val_accuracy=[epoch[0].val_accuracy for epoch in epochs],
        seconds=[epoch[0].seconds for epoch in epochs],
        sent_bytes=sent / len(epochs) if seen else None,
        reduced_bytes=reduced / len(epochs) if reduced else None,
        peak_bytes=[end.memory.peak_bytes for end in ends],
        own_bytes=[end.memory.own_bytes for end in ends],
        mean_accuracy=ends[0].mean_accuracy,
        operations=_operations(asked, again=method == CHECKPOINTED),
    )


def _single(job: Job) -> Job:
    """One block, for as many passes over the data as T blocks have together."""
    config, spec = job.config, replace(job.spec, num_blocks=1)
    times = config.num_blocks
    longer = replace(
        config,
        num_blocks=1,
        epochs=times * config.epochs,
        warmup_epochs=times * config.warmup_epochs,
    )
    return replace(job, config=longer, spec=spec)


def _operations(job: Job, *, again: bool = False) -> int:
    """Of all training; ``again``: the forward pass is computed twice."""
    flops = count_flops(job.spec)
    images = job.total_steps * job.step_size
    return images * job.spec.num_blocks * (flops.training + again * flops.forward)


def count_workers(config: TrainConfig, backend: RayBackend) -> int:
    """The devices of every parallel method: as many as NoProp can use, which has T blocks."""
    slots = config.workers or count_slots(backend.needs)
    return min(slots, -(-config.num_blocks // (config.blocks_per_worker or 1)))


def _measure_noprop(
    backend: RayBackend, job: Job, store: Store, folder: str, workers: int
) -> Measured:
    # A run that goes on would be measured in part.
    store.delete_tree(folder)
    own = inside(store.root, folder)
    config = replace(job.config, run_dir=own, name=None, plots=False)
    traffic = Traffic()
    result = train(
        config,
        backend=replace(
            backend,
            make_client=partial(CountingClient, traffic=traffic),
            on_memory=traffic.memory.__setitem__,
        ),
    )
    if result.set_aside:
        reasons = "; ".join(f"block {t}: {why}" for t, why in result.set_aside.items())
        raise UserError(f"not every block could be trained, which is no comparison ({reasons}).")
    events = read_events(Store(own))
    first = min(e["started"] for e in events if e["event"] == "unit")
    closed = [e for e in events if e["event"] == "round_closed"]
    return Measured(
        NOPROP,
        job.config.seed,
        workers,
        images=job.steps_per_epoch * config.batch_size,
        test_accuracy=result.test_accuracy["z_T"].draws,
        val_accuracy=[e["val_accuracy"] for e in closed],
        seconds=[e["time"] - first for e in closed],
        sent_bytes=traffic.moved_bytes / len(closed),
        reduced_bytes=None,
        peak_bytes=[memory.peak_bytes for memory in traffic.memory.values()],
        own_bytes=[memory.own_bytes for memory in traffic.memory.values()],
        mean_accuracy=result.test_accuracy["mean_softmax"].draws,
        operations=_operations(job),
    )


def _tell_epoch(tell: Tell, job: Job, epoch: MethodEpoch) -> None:
    loss = "" if epoch.loss is None else f"  loss {epoch.loss:.4f}"
    tell(
        f"epoch {epoch.epoch}/{job.config.epochs}{loss}  val z_T {percent(epoch.val_accuracy)}  "
        f"{epoch.seconds:.0f} s"
    )

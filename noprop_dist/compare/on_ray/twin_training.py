"""The twin and its kin on Ray Train: data parallel, all gradients all-reduced at every step."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any

import ray
import ray.train
import ray.train.torch
from ray import cloudpickle
from ray.util.queue import Empty, Queue

from noprop_dist.compare.compare_options import METHODS
from noprop_dist.compare.on_ray.method_run import (
    MethodEpoch,
    MethodTask,
    Said,
    Trained,
    in_order,
    reason_of,
)
from noprop_dist.compare.on_ray.twin_worker import run_worker
from noprop_dist.distributed.cluster import WorkerNeeds
from noprop_dist.errors import UserError

POLL_S = 0.2
LEAVE_S = 5.0  # for the trainer to end once its cluster has


def check_share(batch_size: int, workers: int) -> None:
    """Refuse a batch that the workers cannot share evenly: their mean would not be the batch's.

    Raises:
        UserError: says which sizes would do.
    """
    share = batch_size // workers
    if share < 2:  # batch norm needs two samples
        raise UserError(
            f"--batch-size {batch_size} gives {workers} workers of the twin less than 2 images "
            f"each: give at least {2 * workers}, or fewer --workers."
        )
    if batch_size % workers:
        raise UserError(
            f"--batch-size {batch_size} cannot be shared evenly by the twin's {workers} workers: "
            f"give {share * workers} or {(share + 1) * workers}, or other --workers."
        )


def train_twin(
    task: MethodTask,
    needs: WorkerNeeds,
    workers: int,
    on_epoch: Callable[[MethodEpoch], None] = lambda _: None,
) -> Trained:
    """Train the task's method with Ray Train's TorchTrainer on a cluster that is connected.

    Args:
        task: what to train; put into the object store once, for all workers.
        needs: what each worker asks of the cluster.
        workers: how many.
        on_epoch: told of every epoch, as worker 0 saw it.

    Returns:
        By epoch and rank, the epochs; by rank, the ends.

    Raises:
        UserError: it cannot be trained.
    """
    check_share(task.job.config.batch_size, workers)
    queue = Queue(actor_options={"num_cpus": 0})
    said: list[Said] = []
    with tempfile.TemporaryDirectory(prefix="noprop-twin-") as folder:
        trainer = _trainer(ray.put(task), queue, needs, workers, folder)
        failed: list[BaseException] = []
        # In a thread: Ray Train would take Ctrl-C for itself and leave with code 0.
        thread = Thread(target=_fit, args=(trainer, failed), daemon=True)
        thread.start()
        try:
            while thread.is_alive() or not queue.empty():
                with suppress(Empty):
                    what = cloudpickle.loads(queue.get(timeout=POLL_S))
                    said.append(what)
                    if isinstance(what, MethodEpoch) and what.rank == 0:
                        on_epoch(what)
        except BaseException:
            ray.shutdown()  # ends the trainer, whose thread would wait for it
            thread.join(LEAVE_S)
            raise
    if failed:
        name = METHODS[task.method].name
        raise UserError(f"{name} cannot be trained: {reason_of(failed[0])}.") from failed[0]
    return in_order(said, task.job.config.epochs, workers, task.method)


def _trainer(
    task: Any, queue: Queue, needs: WorkerNeeds, workers: int, folder: str
) -> ray.train.torch.TorchTrainer:
    def loop(config: dict[str, Any]) -> None:
        def tell(what: Said) -> None:
            # As bytes: to read them the queue's process would import PyTorch while others train.
            config["queue"].put(cloudpickle.dumps(what))  # type: ignore[no-untyped-call]

        run_worker(ray.get(config["task"]), tell)

    return ray.train.torch.TorchTrainer(
        loop,
        train_loop_config={"task": task, "queue": queue},
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers,
            use_gpu=needs.gpus > 0,
            resources_per_worker=needs.amounts,
        ),
        # NCCL refuses two workers on one GPU.
        torch_config=ray.train.torch.TorchConfig(backend=None if needs.gpus >= 1 else "gloo"),
        run_config=ray.train.RunConfig(name="twin", storage_path=folder),
    )


def _fit(trainer: ray.train.torch.TorchTrainer, failed: list[BaseException]) -> None:
    try:
        trainer.fit()
    except BaseException as error:  # handed on to the thread that waits
        failed.append(error)

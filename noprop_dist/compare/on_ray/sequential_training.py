"""Algorithm 1 as printed, on one worker of the cluster: what the block-parallel run is held to."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from noprop_dist.compare.algorithm1_run import epoch_batches, make_algorithm, parts_of
from noprop_dist.compare.on_ray.method_run import (
    MethodEnd,
    MethodEpoch,
    MethodTask,
    Said,
    Trained,
    in_order,
    reason_of,
)
from noprop_dist.data import Split
from noprop_dist.distributed.cluster import WorkerNeeds
from noprop_dist.distributed.process_usage import memory_of
from noprop_dist.engine.evaluate import EvalResult, eval_units, merge, run_eval
from noprop_dist.engine.job import Job
from noprop_dist.errors import UserError
from noprop_dist.maths.algorithm1 import Algorithm1
from noprop_dist.model.answering import MEAN
from noprop_dist.model.device import resolve_device


def train_sequential(
    task: MethodTask, needs: WorkerNeeds, on_epoch: Callable[[MethodEpoch], None] = lambda _: None
) -> Trained:
    """Train with Algorithm 1 as printed, in one worker process of a cluster that is connected.

    Args:
        task: what to train.
        needs: what the worker asks of the cluster.
        on_epoch: told of every epoch.

    Returns:
        By epoch, a list of one; and the end, in a list of one.

    Raises:
        UserError: it cannot be trained.
    """
    remote = ray.remote(_run).options(
        num_cpus=needs.cpus, num_gpus=needs.gpus, resources=needs.resources, max_retries=0
    )
    said: list[Said] = []
    try:
        answers: Any = remote.remote(ray.put(task), "cuda" if needs.gpus else "cpu")
        for answer in answers:
            what = ray.get(answer)
            said.append(what)
            if isinstance(what, MethodEpoch):
                on_epoch(what)
    except RayError as error:
        raise UserError(f"Algorithm 1 cannot be trained: {reason_of(error)}.") from error
    return in_order(said, task.job.config.epochs, 1)


def _run(task: MethodTask, device_name: str) -> Iterator[Said]:
    """Inside the worker: every epoch as it ends, and at last the end."""
    job, splits, device = task.job, task.splits, resolve_device(device_name)
    memory_of(device)  # watched from here on
    torch.set_num_threads(job.config.cpus_per_worker)
    algorithm = make_algorithm(job, torch.tensor(task.class_embed), device)
    optimizers = algorithm.optimizers(job.config.lr, job.config.weight_decay)
    start = time.perf_counter()
    for epoch in range(job.config.epochs):
        first = epoch * job.steps_per_epoch
        algorithm.train_epoch(
            epoch_batches(job, splits.train, epoch, device),
            optimizers,
            lambda number, first=first: job.lr(first + number),  # type: ignore[misc]
        )
        val = None
        if len(splits.val):
            (val,) = _evaluate(algorithm, job, "val", splits.val, 1, device).accuracy()
        yield MethodEpoch(0, epoch + 1, time.perf_counter() - start, val)
    test = _evaluate(algorithm, job, "test", splits.test, task.num_draws, device)
    means = test.accuracy(MEAN)
    yield MethodEnd(0, test.accuracy(), means, memory_of(device))


def _evaluate(
    algorithm: Algorithm1, job: Job, name: str, split: Split, draws: int, device: torch.device
) -> EvalResult:
    units = eval_units(0, name, len(split), *parts_of(algorithm), draws)
    return merge([run_eval(unit, job, split, device) for unit in units])

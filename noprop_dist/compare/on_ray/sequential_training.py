"""Algorithm 1 as printed, on one worker of the cluster: what the block-parallel run is held to."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError
from torch import Tensor

from noprop_dist.compare.algorithm1_run import epoch_batches, make_algorithm, parts_of
from noprop_dist.data import Split
from noprop_dist.distributed.cluster import WorkerNeeds
from noprop_dist.distributed.process_usage import memory_of
from noprop_dist.distributed.worker_status import Memory
from noprop_dist.engine.evaluate import EvalResult, eval_units, merge, run_eval
from noprop_dist.engine.executor import explain
from noprop_dist.engine.job import Job
from noprop_dist.engine.splits import Splits
from noprop_dist.errors import UserError
from noprop_dist.maths.algorithm1 import Algorithm1
from noprop_dist.model.device import resolve_device


@dataclass(frozen=True)
class SequentialEpoch:
    """An epoch of all blocks.

    Attributes:
        epoch: from 1.
        seconds: since the first step, validation included.
        val_accuracy: of z_T, None without a validation split.
    """

    epoch: int
    seconds: float
    val_accuracy: float | None


@dataclass(frozen=True)
class SequentialEnd:
    """What is known at the end.

    Attributes:
        test_accuracy: of z_T, by noise draw.
        memory: of the worker.
    """

    test_accuracy: list[float]
    memory: Memory


def train_sequential(
    job: Job,
    splits: Splits,
    class_embed: Tensor,
    needs: WorkerNeeds,
    num_draws: int,
    on_epoch: Callable[[SequentialEpoch], None] = lambda _: None,
) -> tuple[list[SequentialEpoch], SequentialEnd]:
    """Train with Algorithm 1 as printed, in one worker process of a cluster that is connected.

    Args:
        job: the run.
        splits: its data.
        class_embed: W to start from, float32 (K, D).
        needs: what the worker asks of the cluster.
        num_draws: noise draws of the test.
        on_epoch: told of every epoch.

    Raises:
        UserError: it cannot be trained.
    """
    task = ray.remote(_run).options(
        num_cpus=needs.cpus, num_gpus=needs.gpus, resources=needs.resources, max_retries=0
    )
    device = "cuda" if needs.gpus else "cpu"
    told: list[Any] = []
    try:
        answers: Any = task.remote(job, ray.put(splits), class_embed.numpy(), device, num_draws)
        for answer in answers:
            told.append(ray.get(answer))
            if isinstance(told[-1], SequentialEpoch):
                on_epoch(told[-1])
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        reason = explain(cause).split("\n")[0].rstrip(".")
        raise UserError(f"Algorithm 1 cannot be trained: {reason}.") from error
    *epochs, end = told
    return epochs, end


def _run(
    job: Job, splits: Splits, class_embed: Any, device_name: str, num_draws: int
) -> Iterator[SequentialEpoch | SequentialEnd]:
    """Inside the worker: every epoch as it ends, and at last the end."""
    device = resolve_device(device_name)
    memory_of(device)  # watched from here on
    torch.set_num_threads(job.config.cpus_per_worker)
    algorithm = make_algorithm(job, torch.tensor(class_embed), device)
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
            val = _evaluate(algorithm, job, "val", splits.val, 1, device).accuracy_z_T[0]
        seconds = time.perf_counter() - start
        yield SequentialEpoch(epoch + 1, seconds, val)
    test = _evaluate(algorithm, job, "test", splits.test, num_draws, device)
    yield SequentialEnd(test.accuracy_z_T, memory_of(device))


def _evaluate(
    algorithm: Algorithm1, job: Job, name: str, split: Split, draws: int, device: torch.device
) -> EvalResult:
    units = eval_units(0, name, len(split), *parts_of(algorithm), draws)
    return merge([run_eval(unit, job, split, device) for unit in units])

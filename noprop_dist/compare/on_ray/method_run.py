"""What a worker of any method but NoProp is told, and what it tells.

S noise draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.exceptions import RayError

from noprop_dist.compare.compare_options import METHODS, TWIN
from noprop_dist.distributed.worker_status import Memory
from noprop_dist.engine.job import Job
from noprop_dist.engine.runner import explain
from noprop_dist.engine.splits import Splits
from noprop_dist.errors import UserError


@dataclass(frozen=True)
class MethodTask:
    """What every worker is told.

    Attributes:
        job: the run; its batch is shared evenly by all workers.
        splits: its data; arrays of the object store, only read.
        class_embed: W to start from, float32 (K, D).
        num_draws: S, noise draws of the test.
        method: of ``METHODS``.
    """

    job: Job
    splits: Splits
    class_embed: Any
    num_draws: int
    method: str = TWIN


@dataclass(frozen=True)
class MethodEpoch:
    """An epoch as one worker saw it.

    Attributes:
        rank: the worker, from 0.
        epoch: from 1.
        seconds: since the first step, validation included.
        val_accuracy: of z_T's readout, None without a validation split.
        loss: mean cross-entropy of the epoch over all workers, nats; None where each block has a
            loss of its own.
        sent_bytes: that left this worker by TCP in the epoch.
        reduced_bytes: gradients that this worker gave to the all-reduce in the epoch.
    """

    rank: int
    epoch: int
    seconds: float
    val_accuracy: float | None
    loss: float | None = None
    sent_bytes: int = 0
    reduced_bytes: int = 0


@dataclass(frozen=True)
class MethodEnd:
    """What a worker says at the end.

    Attributes:
        rank: the worker, from 0.
        test_accuracy: (S,) by noise draw, of z_T's readout.
        mean_accuracy: (S,) of the mean of the blocks' softmaxes.
        memory: of the worker.
        sha256: of the twin's weights, which all workers have alike.
    """

    rank: int
    test_accuracy: list[float]
    mean_accuracy: list[float]
    memory: Memory
    sha256: str = ""


Said = MethodEpoch | MethodEnd
Trained = tuple[list[list[MethodEpoch]], list[MethodEnd]]  # by epoch and rank; by rank


def in_order(said: Sequence[Said], epochs: int, workers: int, method: str = TWIN) -> Trained:
    """What workers of a method said, by epoch and rank.

    Raises:
        UserError: the loss is not finite.
    """
    found = sorted((s for s in said if isinstance(s, MethodEpoch)), key=lambda e: (e.epoch, e.rank))
    if found and found[-1].loss is not None and not np.isfinite(found[-1].loss):
        raise UserError(
            f"{METHODS[method].name} cannot be trained: its loss became NaN or infinite in epoch "
            f"{found[-1].epoch}, most likely because the learning rate is too high: lower --lr."
        )
    ends = sorted((s for s in said if isinstance(s, MethodEnd)), key=lambda e: e.rank)
    assert (len(found), len(ends)) == (epochs * workers, workers)
    return [found[i : i + workers] for i in range(0, len(found), workers)], ends


def reason_of(error: BaseException) -> str:
    """Why training ended, as a clause."""
    failures = getattr(error, "worker_failures", None) or {0: error}
    first = next(iter(failures.values()))
    cause = getattr(first, "cause", None) or first
    if isinstance(cause, RayError):
        return "a worker died: " + str(cause).split("\n")[0].rstrip(".")
    return explain(cause).split("\n")[0].rstrip(".")

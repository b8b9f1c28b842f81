"""The unit: train block t from step s for n steps. A pure function of what it is given.

Every random number is drawn from (seed, purpose, block, step), so the result depends neither on
where the unit runs nor on how the steps are cut into units.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noprop_dist import faults
from noprop_dist.data import Split
from noprop_dist.engine.job import Job
from noprop_dist.engine.live_block import LiveBlock
from noprop_dist.engine.snapshot import Shared, Snapshot
from noprop_dist.maths.keys import numpy_generator
from noprop_dist.record.progress import UnitProgress

CHECK_EVERY = 20  # steps between looks at the loss: each look waits for the device


@dataclass(frozen=True)
class Unit:
    """Train one block for some steps inside one epoch.

    Attributes:
        snapshot: where to start.
        num_steps: n; the unit must not cross the end of an epoch.
        shared: class embeddings and readout to start from, or None to keep the block's own.
        lr_scale: the plateau's factor on the learning rate.
    """

    snapshot: Snapshot
    num_steps: int
    shared: Shared | None = None
    lr_scale: float = 1.0


@dataclass(frozen=True)
class UnitResult:
    """What a unit leaves.

    Attributes:
        snapshot: the block after the unit.
        progress: where it stands.
        num_images: that the unit trained on.
        started: seconds since 1970.
        seconds: that it ran.
    """

    snapshot: Snapshot
    progress: UnitProgress
    num_images: int
    started: float
    seconds: float


def run_unit(
    unit: Unit,
    job: Job,
    train: Split,
    device: torch.device,
    *,
    on_progress: Callable[[UnitProgress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> UnitResult:
    """Train ``unit`` and return the block's next snapshot.

    Args:
        unit: what to train.
        job: the run.
        train: the training split; only read.
        device: where to compute.
        on_progress: told every few steps.
        should_stop: asked after every step; the unit then ends early, at a step that can be gone on
            from.

    Raises:
        NonFiniteLossError: the loss is NaN or infinite; nothing of the unit is kept.
    """
    started, start = time.time(), time.perf_counter()
    live = LiveBlock(job, unit.snapshot, device, shared=unit.shared, lr_scale=unit.lr_scale)
    first = unit.snapshot.step
    epoch, offset = divmod(first, job.steps_per_epoch)
    order = epoch_order(job, unit.snapshot.t, epoch, len(train))
    batch_size = job.config.batch_size
    recent: list[Tensor] = []
    for step in range(first, first + unit.num_steps):
        where = (offset + step - first) * batch_size
        x, y = train.take(order[where : where + batch_size])
        recent.append(live.train_step(torch.from_numpy(x), torch.from_numpy(y), step))
        faults.reach("unit", block=live.t, step=step + 1)
        stopped = should_stop()
        if len(recent) == CHECK_EVERY or stopped or step == first + unit.num_steps - 1:
            live.check_losses(recent, step)
            recent.clear()
            done = (step + 1 - first) * batch_size
            speed = done / (time.perf_counter() - start)
            on_progress(UnitProgress(live.t, step + 1, *live.means(), speed))
        if stopped:
            break
    live.check_weights(step)
    snapshot = live.snapshot(step + 1)
    num_images, seconds = (step + 1 - first) * batch_size, time.perf_counter() - start
    progress = UnitProgress(live.t, step + 1, *live.means(), num_images / seconds)
    return UnitResult(snapshot, progress, num_images, started, seconds)


def epoch_order(job: Job, t: int, epoch: int, num_images: int) -> npt.NDArray[np.int64]:
    """Rows of the training split in the order block t sees them in ``epoch`` (0-based)."""
    return numpy_generator(job.config.seed, "order", t, epoch).permutation(num_images)

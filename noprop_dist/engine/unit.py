"""The unit: train block t from step s for n steps. A pure function of what it is given.

Every random number is drawn from (seed, purpose, block, step), so the result depends neither on
where the unit runs nor on how the steps are cut into units.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from noprop_dist import faults
from noprop_dist.data import Split
from noprop_dist.data.feed import Feed, make_feed
from noprop_dist.engine.job import Job
from noprop_dist.engine.live_block import LiveBlock
from noprop_dist.engine.profiling import StepProfiler
from noprop_dist.engine.readback import Readback
from noprop_dist.engine.snapshot import Shared, Snapshot
from noprop_dist.maths.keys import numpy_generator
from noprop_dist.record.progress import UnitProgress

CHECK_EVERY = 20  # steps between looks at the loss; on a GPU each is at the numbers of the last


class NonFiniteLossError(RuntimeError):
    """A block's loss became NaN or infinite.

    Attributes:
        step: the step, counted from 0.
    """

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


@dataclass(frozen=True)
class Unit:
    """Train one block for some steps inside one epoch.

    Attributes:
        snapshot: where to start.
        num_steps: n; the unit must not cross the end of an epoch.
        shared: class embeddings and readout to start from, or None to keep the block's own.
        lr_scale: the plateau's factor on the learning rate.
        profile: whether some of its steps are profiled.
    """

    snapshot: Snapshot
    num_steps: int
    shared: Shared | None = None
    lr_scale: float = 1.0
    profile: bool = False


@dataclass(frozen=True)
class UnitResult:
    """What a unit leaves.

    Attributes:
        snapshot: the block after the unit.
        progress: where it stands.
        num_images: that the unit trained on.
        started: seconds since 1970.
        seconds: that it ran.
        trace: of some steps, a chrome trace as JSON, where one was asked for.
    """

    snapshot: Snapshot
    progress: UnitProgress
    num_images: int
    started: float
    seconds: float
    trace: bytes | None = None


def run_unit(unit: Unit, job: Job, train: Split, device: torch.device) -> UnitResult:
    """Train ``unit`` on the training split and return the block's next snapshot.

    Raises:
        NonFiniteLossError: the loss is NaN or infinite; nothing of the unit is kept.
    """
    live = LiveBlock(job, unit.snapshot, device)
    return train_live(live, unit, make_feed(train, device), len(train), last=True)


def train_live(
    live: LiveBlock,
    unit: Unit,
    feed: Feed,
    num_rows: int,
    on_progress: Callable[[UnitProgress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    last: bool,
) -> UnitResult:
    """Train a block that is on its device at the unit's first step.

    Args:
        live: the block.
        unit: what to train.
        feed: the training split where the block is.
        num_rows: of the training split.
        on_progress: told every few steps.
        should_stop: asked after every step; the unit then ends there, and can be gone on with.
        last: the live block trains no further unit: its tensors become the snapshot's.

    Raises:
        NonFiniteLossError: see ``run_unit``; the live block is good for nothing then.
    """
    job, device = live.job, live.device
    started, start = time.time(), time.perf_counter()
    live.begin(unit.shared, unit.lr_scale)
    first, size = live.step, job.step_size
    epoch, offset = divmod(first, job.steps_per_epoch)
    order = epoch_order(job, live.t, epoch, num_rows)
    rows = order[offset * size : (offset + unit.num_steps) * size]
    seen = Readback(device)

    def told(numbers: list[float]) -> UnitProgress:
        loss, right, images, first_bad = numbers
        if first_bad < math.inf:
            raise NonFiniteLossError(int(first_bad))
        speed = (live.step - first) * size / (time.perf_counter() - start)
        return UnitProgress(live.t, live.step, loss / images, right / images, speed)

    profiler = StepProfiler(len(rows) // size, device) if unit.profile else None
    with profiler or nullcontext():
        for x, y in feed.batches(rows, size):
            live.train_step(x, y)
            faults.reach("unit", block=live.t, step=live.step)
            stopped = should_stop()
            if (live.step - first) % CHECK_EVERY == 0 and (numbers := seen.swap(live.numbers)):
                on_progress(told(numbers))
            if profiler is not None:
                profiler.stepped(live.step - first)
            if stopped:
                break
    finite = live.is_finite()
    progress = told(live.numbers.tolist())
    on_progress(progress)
    if not bool(finite):
        raise NonFiniteLossError(live.step - 1)
    num_images, seconds = (live.step - first) * size, time.perf_counter() - start
    trace = profiler.trace if profiler else None
    return UnitResult(live.snapshot(last=last), progress, num_images, started, seconds, trace)


def epoch_order(job: Job, t: int, epoch: int, num_images: int) -> npt.NDArray[np.int64]:
    """Rows of the training split in the order block t sees them in ``epoch`` (0-based)."""
    return numpy_generator(job.config.seed, "order", t, epoch).permutation(num_images)

"""The learning rate of a step; a new schedule is a row of LR_SCHEDULES."""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class LrSchedule:
    """How the learning rate goes on after the warm-up.

    Attributes:
        factor: of the peak, by the share of the steps after the warm-up that is done, in [0, 1);
            None, all of it.
        feedback: a further factor for all later steps, asked after every epoch without a better
            validation accuracy: (epochs without one so far, patience) -> factor. Where there is
            one, every epoch waits for the evaluation of the one before.
    """

    factor: Callable[[float], float] | None = None
    feedback: Callable[[int, int], float] | None = None

    @property
    def knows_end(self) -> bool:
        """Whether the rate of a step depends on how long the run is."""
        return self.factor is not None

    @property
    def falls(self) -> bool:
        """Whether the rate can become less than the peak after the warm-up."""
        return self.factor is not None or self.feedback is not None


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


def _halve(waited: int, patience: int) -> float:
    return 0.5 if waited % patience == 0 else 1.0


# By the name that --lr-schedule takes (``config.groups.OptimisationOptions`` lists them too).
LR_SCHEDULES: dict[str, LrSchedule] = {
    "constant": LrSchedule(),
    "cosine": LrSchedule(_cosine),
    "plateau": LrSchedule(feedback=_halve),
}


def schedules_that(hold: Callable[[LrSchedule], bool]) -> tuple[str, ...]:
    """The names of those of which it holds."""
    return tuple(name for name, schedule in LR_SCHEDULES.items() if hold(schedule))


def learning_rate(
    schedule: LrSchedule,
    step: int,
    *,
    peak: float,
    warmup: float,
    total: int,
    least: float = 0.0,
    scale: float = 1.0,
) -> float:
    """Learning rate of one step.

    Args:
        schedule: how it goes on after the warm-up.
        step: from 0.
        peak: at the end of the warm-up.
        warmup: steps of it, in which the rate grows linearly.
        total: steps of the run.
        least: at most ``peak``; a schedule that falls to nothing falls to it instead.
        scale: what feedback has made of the rate, which it does not take below ``least``.
    """
    if step < warmup:
        return peak * min(1.0, (step + 1) / warmup) * scale
    done = (step - warmup) / max(1.0, total - warmup)
    factor = 1.0 if schedule.factor is None else schedule.factor(done)
    return max(least, (least + (peak - least) * factor) * scale)

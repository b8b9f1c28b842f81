"""Who decides which trials of a sweep go on."""

import math
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    PopulationBasedTraining,
    TrialScheduler,
)

from noprop_dist.config import TrainConfig
from noprop_dist.errors import UserError
from noprop_dist.sweep.network_trial import AGAIN, BLOCK
from noprop_dist.sweep.space import Dimension, Space, most_epochs
from noprop_dist.sweep.sweep_folder import Journal
from noprop_dist.sweep.sweep_options import SweepConfig

PERTURBATIONS = 4  # chances of a trial to take another's place


def scheduler_of(
    options: SweepConfig, config: TrainConfig, space: Space, metric: str, mode: str
) -> TrialScheduler:
    """The scheduler that the options name.

    Args:
        options: of the sweep.
        config: the options that do not vary.
        space: what varies.
        metric: that trials are compared by.
        mode: "max" or "min".
    """
    compared: dict[str, Any] = {"time_attr": "epoch", "metric": metric, "mode": mode}
    if options.scheduler == "asha":

        def asha() -> ASHAScheduler:
            return ASHAScheduler(
                **compared,
                max_t=most_epochs(space, config),
                grace_period=options.grace_epochs,
                reduction_factor=options.reduction,
            )

        return AshaByBlock(asha)
    if options.scheduler == "pbt":
        return Population(
            **compared,
            perturbation_interval=max(1, config.epochs // PERTURBATIONS),
            hyperparam_mutations={name: _mutation(d) for name, d in space.items()},
            custom_explore_fn=partial(_within, space=space),
            log_config=False,
            require_attrs=False,
        )
    return FIFOScheduler()  # type: ignore[no-untyped-call]


class AshaByBlock(FIFOScheduler):
    """Successive halving among trials of the same block; all of them where none is of one block.

    Args:
        make: a scheduler for trials that are compared with each other.
    """

    def __init__(self, make: Callable[[], ASHAScheduler]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._make = make
        self._by_block: dict[int | None, ASHAScheduler] = {}

    def _of(self, trial: Any) -> ASHAScheduler:
        block = trial.config.get(BLOCK)
        if block not in self._by_block:
            self._by_block[block] = self._make()
        return self._by_block[block]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """See ``TrialScheduler``."""
        self._of(trial).on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """See ``TrialScheduler``."""
        self._of(trial).on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """See ``TrialScheduler``: of an epoch told again it was decided when others had less."""
        decision = self._of(trial).on_trial_result(tune_controller, trial, result)
        return TrialScheduler.CONTINUE if result.get(AGAIN) else decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """See ``TrialScheduler``."""
        self._of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """See ``TrialScheduler``."""
        self._of(trial).on_trial_remove(tune_controller, trial)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes a pickle of everything that it is given, which nobody reads."""
        return {}


class Population(PopulationBasedTraining):
    """Population based training in which no trial changes at an epoch that it has left behind."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """See ``TrialScheduler``."""
        if result.get(AGAIN):
            return TrialScheduler.CONTINUE
        return super().on_trial_result(tune_controller, trial, result)


def _within(settings: dict[str, Any], *, space: Space) -> dict[str, Any]:
    """Settings that were changed by a factor, held to their ranges."""
    for name, dimension in space.items():
        if dimension.kind != "choice":
            low, high = dimension.values
            settings[name] = min(max(settings[name], low), high)
    return settings


def _mutation(dimension: Dimension) -> Any:
    if dimension.kind == "choice":
        return list(dimension.values)
    low, high = dimension.values
    if dimension.kind == "randint":
        return tune.randint(low, high + 1)
    return tune.uniform(low, high) if dimension.kind == "uniform" else tune.loguniform(low, high)


def remember(scheduler: TrialScheduler, journal: Journal) -> None:
    """Let a new scheduler know what trials reported that ended before it was made."""
    if not isinstance(scheduler, AshaByBlock):
        return
    for trial in journal.ended:
        name = f"ended-{trial.number}"
        stand_in: Any = SimpleNamespace(trial_id=name, config=trial.settings)
        controller: Any = None
        scheduler.on_trial_add(controller, stand_in)
        for report in journal.reports(trial.number):
            scheduler.on_trial_result(controller, stand_in, report)


class SweepEndedError(BaseException):
    """The sweep ends before its trials do.

    No ``Exception``: Tune would wait up to 15 s for trials in the middle of a unit, and they have
    their checkpoints.
    """


class Limits(tune.Stopper):
    """Ends the sweep when it is asked to, or its time is over.

    Attributes:
        asked: whether it was asked to.
        failure: what went wrong, for the sweep and not for a trial.
    """

    def __init__(self, seconds: float | None) -> None:
        self.asked = False
        self.failure: UserError | None = None
        self._deadline = math.inf if seconds is None else time.monotonic() + seconds

    def ask(self) -> None:
        """End the sweep at the next look."""
        self.asked = True

    def fail(self, error: UserError) -> None:
        """End the sweep at the next look, because of this."""
        self.failure = self.failure or error

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether one trial should end: never for its own sake."""
        return False

    def stop_all(self) -> bool:
        """Tune asks it at every step.

        Raises:
            SweepEndedError: all should end.
        """
        if self.asked or self.failure or time.monotonic() > self._deadline:
            raise SweepEndedError
        return False

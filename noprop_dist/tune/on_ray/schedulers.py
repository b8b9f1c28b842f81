"""Who decides which trials of a sweep go on."""

import math
import time
from collections import defaultdict
from functools import partial
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from typing_extensions import override

from noprop_dist.errors import UserError
from noprop_dist.tune.reports import AGAIN
from noprop_dist.tune.search import Search
from noprop_dist.tune.space import BLOCK, most_epochs
from noprop_dist.tune.sweep_folder import SweepFolder


def scheduler_of(search: Search) -> TrialScheduler:
    """The scheduler that the options name; it knows what ended trials have reported."""
    if search.options.scheduler == "none":
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    scheduler = AshaByBlock(search)
    scheduler.remember(search.folder)
    return scheduler


class AshaByBlock(FIFOScheduler):
    """Successive halving among trials of the same block; all of them where none is of one block.

    Args:
        search: what is searched.
    """

    def __init__(self, search: Search) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        make = partial(
            ASHAScheduler,
            time_attr="epoch",
            metric=search.metric,
            mode=search.mode,
            max_t=most_epochs(search.space, search.config),
            grace_period=search.options.grace_epochs,
            reduction_factor=search.options.reduction,
        )
        self._by_block: defaultdict[int | None, ASHAScheduler] = defaultdict(make)

    def _of(self, trial: Any) -> ASHAScheduler:
        return self._by_block[trial.config.get(BLOCK)]

    def remember(self, folder: SweepFolder) -> None:
        """Take in what trials reported that ended before this scheduler was made."""
        for trial in folder.ended:
            name = f"ended-{trial.number}"
            stand_in: Any = SimpleNamespace(trial_id=name, config=trial.settings)
            self.on_trial_add(None, stand_in)
            for report in folder.reports(trial.number):
                self.on_trial_result(None, stand_in, report)

    @override
    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_add(tune_controller, trial)

    @override
    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision = self._of(trial).on_trial_result(tune_controller, trial, result)
        # Of an epoch that is told again it was decided when others had less.
        return TrialScheduler.CONTINUE if result.get(AGAIN) else decision

    @override
    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._of(trial).on_trial_complete(tune_controller, trial, result)


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
        """End the sweep before the next result is taken."""
        self.asked = True

    def fail(self, error: UserError) -> None:
        """End the sweep before the next result is taken, because of this."""
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

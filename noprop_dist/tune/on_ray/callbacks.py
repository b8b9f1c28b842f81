"""What Ray Tune calls: for the settings of the next trial, and with what trials report."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher
from typing_extensions import override

from noprop_dist.errors import UserError
from noprop_dist.tune.search import Search
from noprop_dist.tune.space import Settings
from noprop_dist.tune.sweep_folder import FAILED, FINISHED, RUNNING, STOPPED, Outcome, Trial
from noprop_dist.tune.sweep_progress import SweepProgress
from noprop_dist.tune.trial_table import MEASURED, row_of

Result = dict[str, Any]
Fail = Callable[[UserError], None]


class _WithoutState:
    """Tune writes a pickle of everything that it is given, which nobody reads."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TrialSearcher(_WithoutState, Searcher):
    """Gives Tune the trials of the folder that have not ended, then new ones.

    Args:
        search: what is searched; new trials are written into its folder before they begin.
        draw: the settings of a new trial, by number.
        fail: told what ends the sweep: Tune would go on without what it cannot have.
    """

    def __init__(self, search: Search, draw: Callable[[int], Settings], fail: Fail) -> None:
        super().__init__()
        self._folder, self._draw, self._fail = search.folder, draw, fail
        self._again = self._folder.open_trials
        self._new = iter([n for n in range(search.count) if n not in self._folder.trials])

    @override
    def suggest(self, trial_id: str) -> Any:
        """The settings and, as "trial", the number."""
        if self._again:
            trial = self._again.pop(0)
            return {"trial": trial.number, **trial.settings}
        number = next(self._new, None)
        if number is None:
            return Searcher.FINISHED
        try:
            settings = self._draw(number)
            self._folder.add(number, settings)
        except UserError as error:
            self._fail(error)
            return None
        return {"trial": number, **settings}

    @override
    def on_trial_complete(
        self, trial_id: str, result: Result | None = None, error: bool = False
    ) -> None:
        """``TrialRecorder`` is told more."""

    @override
    def save(self, checkpoint_path: str) -> None:
        """The folder is all that is kept."""


class TrialRecorder(_WithoutState, Callback):
    """Ends trials in the sweep's folder, and tells whoever watches.

    Args:
        search: what is searched.
        learn: told of a trial that has ended.
        fail: told what ends the sweep: Tune would run a trial again whose end cannot be written.
        progress: shows it.
    """

    def __init__(
        self, search: Search, learn: Callable[[Trial], None], fail: Fail, progress: SweepProgress
    ) -> None:
        self._search, self._learn, self._fail = search, learn, fail
        self._progress, self._sign = progress, 1 if search.mode == "max" else -1
        self._ended: list[int] = []
        self._so_far: defaultdict[int, Outcome] = defaultdict(lambda: Outcome(RUNNING, 0, 0.0, {}))
        self._said: dict[int, Result] = {}  # how a trial ended

    @override
    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Result, **info: Any
    ) -> None:
        """Keep the best epoch."""
        number, metric = _number(trial), self._search.metric
        if metric not in result:
            self._said[number] = result
            return
        report = {k: result[k] for k in ("epoch", "seconds", *MEASURED) if k in result}
        best = self._so_far[number].best or report
        if self._sign * report[metric] > self._sign * best[metric]:
            best = report
        seconds = round(float(report.get("seconds", 0.0)), 3)
        self._so_far[number] = Outcome(RUNNING, int(report["epoch"]), seconds, best)
        self._show(number, self._so_far[number])

    @override
    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """It ended by itself, or was stopped."""
        number = _number(trial)
        said = self._said.get(number, {})
        epochs = trial.config.get("epochs", self._search.config.epochs)
        if "broken" in said:
            self._fail(UserError(said["broken"]))
        elif "failed" in said:
            self._end(number, FAILED, said["failed"])
        elif "ended" in said or self._so_far[number].epochs >= epochs:
            self._end(number, FINISHED)
        else:
            self._end(number, STOPPED)

    @override
    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Its process died too often, or something unforeseen was raised."""
        error = trial.get_error()
        cause = getattr(error, "cause", None) or error
        reason = str(cause).strip().splitlines()
        self._end(_number(trial), FAILED, reason[-1] if reason else type(cause).__name__)

    @override
    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Its process died."""
        self._progress.message(f"trial {_number(trial)}: its process died; it goes on in another")

    def _end(self, number: int, status: str, reason: str = "") -> None:
        folder = self._search.folder
        outcome = replace(self._so_far[number], status=status, reason=reason)
        try:
            folder.end(number, outcome)
        except UserError as error:
            self._fail(error)
            return
        # Single blocks keep their checkpoints: networks are made of them.
        if not self._search.options.per_block:
            for ended in self._ended:  # not this one, which may still be writing
                folder.clear(ended)
            self._ended = [number]
        self._learn(folder.trials[number])
        self._show(number, outcome)

    def _show(self, number: int, outcome: Outcome) -> None:
        trial = Trial(number, self._search.folder.trials[number].settings, outcome)
        self._progress.update(row_of(trial, self._search.config))


def _number(trial: Any) -> int:
    return int(trial.custom_trial_name)

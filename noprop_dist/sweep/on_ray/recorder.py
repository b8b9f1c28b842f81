"""What happens to trials: written down as they end, and told line by line."""

from collections.abc import Callable
from typing import Any

from ray.tune import Callback

from noprop_dist.errors import UserError
from noprop_dist.sweep.network_trial import BLOCK
from noprop_dist.sweep.space import Settings
from noprop_dist.sweep.sweep_folder import FAILED, FINISHED, STOPPED, Journal, Outcome
from noprop_dist.sweep.sweep_progress import SweepView

Result = dict[str, Any]
# What a trial reports of an epoch, of all that Tune puts beside it.
REPORTED = ("epoch", "seconds", "val_accuracy", "val_mean_softmax", "train_loss", "val_loss")


class Watch(Callback):
    """Ends trials in the journal.

    Args:
        journal: of the sweep.
        metric: that trials are compared by.
        mode: "max" or "min".
        epochs: that a trial has, by its settings.
        settle: takes settings out that mean nothing beside the others.
        clear: delete checkpoints of trials that have ended.
        learn: told of a trial that has ended.
        fail: told what ends the sweep: Tune would run a trial again whose end cannot be written.
        view: shows it to whoever watches.
    """

    def __init__(
        self,
        journal: Journal,
        metric: str,
        mode: str,
        *,
        epochs: Callable[[Settings], int],
        settle: Callable[[Settings], Settings],
        clear: bool,
        learn: Callable[[int], None],
        fail: Callable[[UserError], None],
        view: SweepView,
    ) -> None:
        self._journal, self._metric = journal, metric
        self._sign = 1 if mode == "max" else -1
        self._epochs, self._settle = epochs, settle
        self._learn, self._fail, self._view = learn, fail, view
        self._clear = clear
        self._ended: list[int] = []
        self._best: dict[int, Result] = {}
        self._last: dict[int, Result] = {}
        self._now: dict[int, Settings] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes a pickle of everything that it is given, which nobody reads."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Result, **info: Any
    ) -> None:
        """See ``Callback``: keep the best epoch."""
        number = _number(trial)
        if self._metric not in result:
            self._last[number] = self._last.get(number, {}) | result
            return
        report = {k: result[k] for k in REPORTED if k in result}
        self._last[number] = report
        # Those it was trained with: the scheduler may have given the trial others by now.
        settings = self._settings(result["config"])
        if self._now.setdefault(number, settings) != settings:  # what it reached with others
            self._now[number] = settings
            self._best.pop(number, None)
        best = self._best.get(number)
        if best is None or self._sign * report[self._metric] > self._sign * best[self._metric]:
            self._best[number] = report
        self._view.told(number, self._settle(settings), report, self._best[number])

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """See ``Callback``: it ended by itself, or was stopped."""
        number = _number(trial)
        last = self._last.get(number, {})
        if "broken" in last:
            self._fail(UserError(last["broken"]))
        elif "failed" in last:
            self._end(trial, FAILED, last["failed"])
        elif "ended" in last or last.get("epoch", 0) >= self._epochs(trial.config):
            self._end(trial, FINISHED)
        else:
            self._end(trial, STOPPED)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """See ``Callback``: its process died too often, or something unforeseen was raised."""
        error = trial.get_error()
        cause = getattr(error, "cause", None) or error
        reason = str(cause).strip().splitlines()
        self._end(trial, FAILED, reason[-1] if reason else type(cause).__name__)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """See ``Callback``: its process died."""
        self._view.message(f"trial {_number(trial)}: its process died; it goes on in another")

    def _end(self, trial: Any, status: str, reason: str = "") -> None:
        number = _number(trial)
        last, drawn = self._last.get(number, {}), self._journal.trials[number].settings
        # Those its best epoch was trained with: given others, it may not have trained since.
        now = self._now.get(number) or self._settings(trial.config)
        outcome = Outcome(
            status=status,
            epochs=int(last.get("epoch", 0)),
            seconds=round(float(last.get("seconds", 0.0)), 3),
            best=self._best.get(number, {}),
            reason=reason,
            changed={k: v for k, v in now.items() if drawn.get(k) != v},
        )
        try:
            self._journal.end(number, outcome)
        except UserError as error:
            self._fail(error)
            return
        if self._clear:  # those of this one, which may still be writing, when the next has ended
            for ended in self._ended:
                self._journal.clear(ended)
            self._ended = [number]
        self._learn(number)
        self._view.ended(number, self._settle(now), outcome)

    @staticmethod
    def _settings(config: dict[str, Any]) -> Settings:
        """Without the number of the place, the block first."""
        now = {k: v for k, v in config.items() if k != "trial"}
        return dict(sorted(now.items(), key=lambda item: item[0] != BLOCK))


def _number(trial: Any) -> int:
    """Its name: what its config says may be another trial's, whose place it took."""
    return int(trial.custom_trial_name)

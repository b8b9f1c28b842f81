"""What happens to trials: written down as they end, and told line by line."""

from collections.abc import Callable
from typing import Any

from ray.tune import Callback

from noprop_dist.sweep.journal import FAILED, FINISHED, STOPPED, Journal, Outcome
from noprop_dist.sweep.space import Settings

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
        ending: whether the sweep is being ended: then a trial that stops has not ended.
        learn: told of a trial that has ended.
        say: prints a line.
    """

    def __init__(
        self,
        journal: Journal,
        metric: str,
        mode: str,
        *,
        epochs: Callable[[Settings], int],
        ending: Callable[[], bool],
        learn: Callable[[int], None],
        say: Callable[[str], None],
    ) -> None:
        self._journal, self._metric = journal, metric
        self._sign = 1 if mode == "max" else -1
        self._epochs, self._ending, self._learn, self._say = epochs, ending, learn, say
        self._best: dict[int, Result] = {}
        self._last: dict[int, Result] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes a pickle of everything that it is given, which nobody reads."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Result, **info: Any
    ) -> None:
        """See ``Callback``: keep the best epoch."""
        number = trial.config["trial"]
        if self._metric not in result:
            self._last[number] = self._last.get(number, {}) | result
            return
        report = {k: result[k] for k in REPORTED if k in result}
        self._last[number] = report
        best = self._best.get(number)
        if best is None or self._sign * report[self._metric] > self._sign * best[self._metric]:
            self._best[number] = report

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """See ``Callback``: it ended by itself, or was stopped."""
        number = trial.config["trial"]
        last = self._last.get(number, {})
        if "failed" in last:
            self._end(trial, FAILED, last["failed"])
        elif "ended" in last or last.get("epoch", 0) >= self._epochs(trial.config):
            self._end(trial, FINISHED)
        elif not self._ending():
            self._end(trial, STOPPED)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """See ``Callback``: its process died too often, or something unforeseen was raised."""
        error = trial.get_error()
        cause = getattr(error, "cause", None) or error
        reason = str(cause).strip().splitlines()
        self._end(trial, FAILED, reason[-1] if reason else type(cause).__name__)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """See ``Callback``: its process died."""
        self._say(f"trial {trial.config['trial']}: its process died; it goes on in another")

    def _end(self, trial: Any, status: str, reason: str = "") -> None:
        number = trial.config["trial"]
        last, drawn = self._last.get(number, {}), self._journal.trials[number].settings
        now = {k: v for k, v in trial.config.items() if k != "trial"}
        outcome = Outcome(
            status=status,
            epochs=int(last.get("epoch", 0)),
            seconds=round(float(last.get("seconds", 0.0)), 3),
            best=self._best.get(number, {}),
            reason=reason,
            changed={k: v for k, v in now.items() if drawn.get(k) != v},
        )
        self._journal.end(number, outcome)
        self._learn(number)
        self._say(_line(number, now, outcome, self._metric))


def _line(number: int, settings: Settings, outcome: Outcome, metric: str) -> str:
    shown = "  ".join(f"{k} {show(v)}" for k, v in settings.items())
    best = outcome.best.get(metric)
    value = "-" if best is None else show_metric(metric, best)
    why = f"  ({outcome.reason})" if outcome.reason else ""
    epochs = "epoch" if outcome.epochs == 1 else "epochs"
    return (
        f"trial {number:>3}  {outcome.status:<8}  {outcome.epochs} {epochs}  {value}  {shown}{why}"
    )


def show(value: Any) -> str:
    """A setting for people."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def show_metric(metric: str, value: float) -> str:
    """What trials are compared by, for people."""
    return f"{100 * value:.2f} %" if metric == "val_accuracy" else f"{value:.4g}"

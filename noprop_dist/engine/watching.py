"""A user's own code beside a run: callbacks that are told of it and may end it, and metrics.

All of it runs in the process that called ``train``, between units; workers know nothing of it.
N rows, K classes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from noprop_dist.engine.evaluate import EvalResult
from noprop_dist.engine.rounds import Rounds
from noprop_dist.errors import UserError
from noprop_dist.model.backbone import Backbone
from noprop_dist.model.network import NoPropNetwork
from noprop_dist.record.history import History
from noprop_dist.record.result import TrainResult
from noprop_dist.record.trained import TrainedNetwork
from noprop_dist.run_files import CHECKPOINTS
from noprop_dist.text import first_line

NOTHING_LOST = "what was trained is in the last checkpoint, and the same call goes on from there"

# From probabilities, float32 (N, K) of z_T, and labels, int64 (N,), to a number.
Metric = Callable[[npt.NDArray[np.float32], npt.NDArray[np.int64]], float]


class Run:
    """A run while it trains, as callbacks see it.

    Attributes:
        folder: the run folder.
        config: its options.
    """

    def __init__(self, rounds: Rounds, folder: str, backbone: Backbone | None = None) -> None:
        self._rounds, self.folder, self.config = rounds, folder, rounds.job.config
        self._backbone = backbone
        self.is_asked_to_stop = False

    @property
    def history(self) -> History:
        """The numbers of every epoch that has ended, a copy."""
        return deepcopy(self._rounds.history)

    @property
    def epoch(self) -> int:
        """How many epochs have ended."""
        return self._rounds.round

    def network(self) -> TrainedNetwork:
        """The network at the end of the newest epoch, a copy on the CPU; after one has ended."""
        rounds, job = self._rounds, self._rounds.job
        newest = rounds.round - 1
        weights, shared = rounds.weights(newest), rounds.average(newest)
        network = NoPropNetwork.assemble(job.spec, weights, shared, precision=job.precision)
        device = network.class_embed.device
        data = job.fingerprint["data"]
        backbone = None if self._backbone is None else deepcopy(self._backbone).to(device)
        norm, names = job.normalisation, job.class_names
        return TrainedNetwork(network, norm, names, device, data, backbone=backbone)

    def stop(self) -> None:
        """End the run with the epoch that has ended, or else the next one to end.

        The network is that epoch's, or with early stopping the best one's, and is tested.
        """
        self.is_asked_to_stop = True


class Callback:
    """Told of a run; a subclass overrides what it wants to know.

    An exception ends the run after a checkpoint, as a ``UserError`` that names the callback, which
    is told no more. A run that is gone on with calls for what comes then, not again for what was.
    """

    def on_epoch_end(self, run: Run) -> None:
        """Every block has ended an epoch, and it has been evaluated on the validation split."""

    def on_checkpoint(self, run: Run, path: str) -> None:
        """A checkpoint has been written to ``path``."""

    def on_end(self, run: Run, result: TrainResult) -> None:
        """The run has finished and its files are written, but for its pictures."""


class Watching:
    """Calls callbacks and metrics, and says which one it was where one fails.

    Args:
        callbacks: in the order in which they are called.
        metrics: by name.

    Raises:
        UserError: what is no callback.
    """

    def __init__(
        self,
        callbacks: Sequence[Callback] = (),
        metrics: Mapping[str, Metric] = MappingProxyType({}),
    ) -> None:
        if isinstance(callbacks, Callback) or not isinstance(metrics, Mapping):
            raise UserError(
                "callbacks is a list of Callback, and metrics a dict of functions by name: got "
                f"{type(callbacks).__name__} and {type(metrics).__name__}."
            )
        self.callbacks, self.metrics = tuple(callbacks), dict(metrics)
        self._failed: Callback | None = None
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise UserError(
                    "callbacks must be instances of classes derived from noprop_dist.Callback, got "
                    f"{callback!r}."
                )

    def begin(
        self,
        rounds: Rounds,
        folder: str,
        labels: npt.NDArray[np.int64],
        backbone: Backbone | None = None,
    ) -> None:
        """Watch a run from now on.

        Args:
            rounds: its state.
            folder: where it lives.
            labels: of the validation split, int64 (N,).
            backbone: that makes the rows of pictures.
        """
        self.run = Run(rounds, folder, backbone)
        self._rounds, self._val_labels = rounds, labels

    def validated(self, result: EvalResult | None) -> dict[str, float]:
        """The metrics of an epoch's validation, none without one.

        Raises:
            UserError: a metric failed or gave no number.
        """
        return self.measured(result, self._val_labels) if result and self.metrics else {}

    def measured(self, result: EvalResult, labels: npt.NDArray[np.int64]) -> dict[str, float]:
        """The metrics of an evaluation.

        Args:
            result: of a whole split.
            labels: of its rows, int64 (N,).

        Raises:
            UserError: a metric failed or gave no number.
        """
        found = {}
        for name, metric in self.metrics.items():
            try:
                found[name] = float(metric(result.probabilities[0], labels))
                if not math.isfinite(found[name]):  # JSON has no word for it
                    raise ValueError(f"it gave {found[name]}: give a finite number")
            except Exception as error:
                raise _blamed(f"the metric {name}", error, NOTHING_LOST) from error
        return found

    def epoch_ended(self) -> None:
        """Tell of an epoch; ends the run where one of the callbacks asked for it.

        Raises:
            UserError: a callback failed.
        """
        self._tell("on_epoch_end")
        if self.callbacks:
            self._rounds.ended |= self.run.is_asked_to_stop

    def checkpoint_written(self, name: str) -> None:
        """Tell of a checkpoint.

        Raises:
            UserError: a callback failed.
        """
        if self.callbacks:
            self._tell("on_checkpoint", f"{self.run.folder}/{CHECKPOINTS}/{name}")

    def finished(self, result: TrainResult) -> None:
        """Tell of the end.

        Raises:
            UserError: a callback failed.
        """
        self._tell("on_end", result, outcome="the run has finished all the same")

    def _tell(self, event: str, *more: Any, outcome: str = NOTHING_LOST) -> None:
        for callback in self.callbacks:
            if callback is self._failed:  # told of the run's last checkpoint, it may fail again
                continue
            try:
                getattr(callback, event)(self.run, *more)
            except Exception as error:
                self._failed = callback
                name = f"the callback {type(callback).__name__}"
                raise _blamed(f"{name} in {event}", error, outcome) from error


def _blamed(whose: str, error: Exception, outcome: str) -> UserError:
    why = first_line(error)
    return UserError(f"{whose} failed ({type(error).__name__}: {why}): {outcome}.")

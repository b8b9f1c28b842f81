"""The folder of a sweep: what it searches, and of every trial its settings and how it ended.

It is written as things happen, whole files at a time, and is all that a sweep needs to go on.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from noprop_dist.config import FREE_FIELDS, TrainConfig, flag
from noprop_dist.errors import UserError
from noprop_dist.record.history import History
from noprop_dist.record.store import Store
from noprop_dist.sweep.options import SweepConfig
from noprop_dist.sweep.space import Settings, Space
from noprop_dist.sweep.trial import REPORTS, Report, told_before

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
SETTINGS, OUTCOME, HISTORY = "trial.json", "outcome.json", "training_history.json"


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        status: "finished", "stopped" (by the scheduler: it fell behind) or "failed".
        epochs: that it trained.
        seconds: that it trained, pauses not counted.
        best: what it reported after its best epoch, by name; empty where it reported nothing.
        reason: why it failed.
        changed: settings that the scheduler changed on the way.
    """

    status: str
    epochs: int
    seconds: float
    best: dict[str, float]
    reason: str = ""
    changed: Settings = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """One set of settings.

    Attributes:
        number: from 0, in the order drawn.
        settings: by option; with ``--per-block`` also "block", its t.
        outcome: None where it has not ended.
    """

    number: int
    settings: Settings
    outcome: Outcome | None = None


class Journal:
    """The trials of a sweep, on disk and in memory.

    Args:
        store: the folder.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.trials: dict[int, Trial] = {}

    def open(self, config: TrainConfig, options: SweepConfig, space: Space) -> None:
        """Begin a sweep, or take up what is there of the same one.

        Raises:
            UserError: the folder holds another sweep, or a run.
        """
        identity = {
            "config": {k: v for k, v in config.to_dict().items() if k not in FREE_FIELDS},
            "sweep": options.identity,
            "space": {name: dimension.to_dict() for name, dimension in space.items()},
        }
        if self.store.exists("sweep.json"):
            there = self._read("sweep.json")
            if there != json.loads(json.dumps(identity)):
                raise UserError(
                    f"{self.store.root} holds another sweep ({_difference(there, identity)}): give "
                    "the same options, or another --name or --checkpoint-dir."
                )
        elif self.store.exists("config.yaml") or self.store.exists("result.json"):
            raise UserError(
                f"{self.store.root} holds a run, not a sweep: give another --name or "
                "--checkpoint-dir."
            )
        else:
            self.store.write("sweep.json", json.dumps(identity, indent=1).encode())
        for name in self.store.list("trials"):
            if self.store.exists(f"trials/{name}/{SETTINGS}"):
                trial = Trial(int(name), self._read(f"trials/{name}/{SETTINGS}"))
                if self.store.exists(f"trials/{name}/{OUTCOME}"):
                    outcome = Outcome(**self._read(f"trials/{name}/{OUTCOME}"))
                    trial = Trial(trial.number, trial.settings, outcome)
                self.trials[trial.number] = trial

    def _read(self, path: str) -> Any:
        try:
            return json.loads(self.store.read(path))
        except ValueError as error:
            raise UserError(
                f"{self.store.root}/{path} is not what a sweep writes ({error}): restore it, or "
                "give another --name or --checkpoint-dir."
            ) from error

    def add(self, number: int, settings: Settings) -> None:
        """A trial that is about to begin."""
        self.trials[number] = Trial(number, settings)
        self._write(number, SETTINGS, settings)

    def end(self, number: int, outcome: Outcome) -> None:
        """A trial has ended for good."""
        trial = self.trials[number]
        self.trials[number] = Trial(number, trial.settings, outcome)
        self._write(number, OUTCOME, asdict(outcome))

    def _write(self, number: int, name: str, value: dict[str, Any]) -> None:
        self.store.write(f"{trial_path(number)}/{name}", json.dumps(value, indent=1).encode())

    @property
    def open_trials(self) -> list[Trial]:
        """Those that have begun and not ended."""
        return [trial for _, trial in sorted(self.trials.items()) if trial.outcome is None]

    @property
    def ended(self) -> list[Trial]:
        """Those that have."""
        return [trial for _, trial in sorted(self.trials.items()) if trial.outcome is not None]

    def clear(self, number: int) -> None:
        """Delete the checkpoints of a trial that has ended: its log and history stay."""
        for path in run_folders(self.store, number):
            self.store.delete_tree(f"{path}/checkpoints")

    def reports(self, number: int) -> list[Report]:
        """What a trial told, epoch by epoch."""
        path = run_folders(self.store, number)[-1]
        if self.store.exists(f"{path}/{REPORTS}"):
            reports: list[Report] = self._read(f"{path}/{REPORTS}")
            return reports
        if not self.store.exists(f"{path}/{HISTORY}"):
            return []
        history = History.from_dict(self._read(f"{path}/{HISTORY}"))
        return list(told_before(history, len(history.lr_history)))


def trial_path(number: int) -> str:
    """The run folder of a trial, inside the sweep's."""
    return f"trials/{number:04d}"


def run_folders(store: Store, number: int) -> list[str]:
    """The run folders of a trial, inside the sweep's: its first, and one for each place it took."""
    mine = f"{number:04d}-"
    taken = sorted(
        (name for name in store.list("trials") if name.startswith(mine)),
        key=lambda name: int(name.removeprefix(mine)),
    )
    return [trial_path(number), *(f"trials/{name}" for name in taken)]


def _difference(there: dict[str, Any], here: dict[str, Any]) -> str:
    """The first difference between two identities, in words."""
    for part in ("config", "sweep"):
        for name, value in here[part].items():
            if there.get(part, {}).get(name) != value:
                return f"{flag(name)} {there.get(part, {}).get(name)} there, {value} now"
    return "its --space differs"

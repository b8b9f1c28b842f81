"""The folder of a sweep: what it searches, and of every trial its settings and how it ended.

It is written as things happen, whole files at a time, and is all that a sweep needs to go on.
"""

import json
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from noprop_dist.config import FREE_FIELDS, TrainConfig
from noprop_dist.config.fields import flag
from noprop_dist.config.former_names import by_new_names
from noprop_dist.errors import UserError
from noprop_dist.model.block_names import same_block
from noprop_dist.record.folder import Reader
from noprop_dist.record.history import History
from noprop_dist.record.store import Store
from noprop_dist.run_files import CONFIG, HISTORY, RESULT, SWEEP, TRIAL
from noprop_dist.tune.reports import REPORTS, Report, reports_of
from noprop_dist.tune.space import Settings, Space
from noprop_dist.tune.sweep_options import SweepConfig

RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped", "failed"
NUMBER = re.compile(r"\d{4,}")
OUTCOME = "outcome.json"
REMEDY = "restore it, or give another --name or --run-dir"


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, or how far one has come that is running.

    Attributes:
        status: "finished", "stopped" (by the scheduler: it fell behind), "failed" or "running".
        epochs: that it trained.
        seconds: that it trained, pauses not counted.
        best: what it reported after its best epoch, by name; empty where it reported nothing.
        reason: why it failed.
    """

    status: str
    epochs: int
    seconds: float
    best: dict[str, float]
    reason: str = ""


@dataclass(frozen=True)
class Trial:
    """One set of settings.

    Attributes:
        number: from 0, in the order drawn.
        settings: by option; with ``--per-block`` also "t", the block.
        outcome: None where it has not ended.
    """

    number: int
    settings: Settings
    outcome: Outcome | None = None


class SweepFolder:
    """The trials of a sweep, on disk and in memory.

    Args:
        store: the folder.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._reader = Reader(store, "a sweep", REMEDY)
        self.trials: dict[int, Trial] = {}
        self._claim = b""

    def open(self, config: TrainConfig, options: SweepConfig, space: Space, data: str = "") -> None:
        """Begin a sweep, or take up what is there of the same one.

        The folder becomes this sweep's with the first trial: one that is refused leaves nothing
        that stands in the way of the next.

        Args:
            config: the options that do not vary.
            options: how to search.
            space: what.
            data: a hash of the training and validation rows, and of the code of an own block.

        Raises:
            UserError: the folder holds another sweep, or a run.
        """
        identity = {
            "config": {k: v for k, v in config.to_dict().items() if k not in FREE_FIELDS},
            "sweep": options.identity,
            "space": {name: dimension.to_dict() for name, dimension in space.items()},
            "data": data,
        }
        there = self.identity()
        if there is not None:
            differs = _difference(there, json.loads(json.dumps(identity)))
            if differs:
                raise UserError(
                    f"{self.store.root} holds another sweep ({differs}): give the same options, or "
                    "another --name or --run-dir."
                )
        elif self.store.exists(CONFIG) or self.store.exists(RESULT):
            raise UserError(
                f"{self.store.root} holds a run, not a sweep: give another --name or --run-dir."
            )
        else:
            self._claim = json.dumps(identity, indent=1).encode()
        self.read_trials()

    def identity(self) -> dict[str, Any] | None:
        """What the folder's sweep is: the options that do not vary, how it searches and what."""
        there: dict[str, Any] | None = self._reader.json(SWEEP)
        return there

    def read_trials(self) -> None:
        """Take up the trials that are there.

        Raises:
            UserError: a file of one is damaged.
        """
        for name in self.store.list("trials"):
            if NUMBER.fullmatch(name):
                settings = self._reader.json(f"trials/{name}/{TRIAL}")
                if settings is not None:
                    settings = by_new_names(TrainConfig, settings)
                    outcome = self._reader.typed(f"trials/{name}/{OUTCOME}", Outcome)
                    self.trials[int(name)] = Trial(int(name), settings, outcome)

    def add(self, number: int, settings: Settings) -> None:
        """A trial that is about to begin."""
        if self._claim:
            self.store.write(SWEEP, self._claim)
            self._claim = b""
        self.trials[number] = Trial(number, settings)
        self._write(number, TRIAL, settings)

    def end(self, number: int, outcome: Outcome) -> None:
        """A trial has ended for good."""
        self.trials[number] = replace(self.trials[number], outcome=outcome)
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
        self.store.delete_tree(f"{trial_path(number)}/checkpoints")

    def reports(self, number: int) -> list[Report]:
        """What a trial told, epoch by epoch."""
        path = trial_path(number)
        reports: list[Report] | None = self._reader.json(f"{path}/{REPORTS}", list)
        if reports is not None:
            return reports
        history = self._reader.typed(f"{path}/{HISTORY}", History)
        return reports_of(history, len(history.lr_history)) if history else []


def trial_path(number: int) -> str:
    """The run folder of a trial, inside the sweep's."""
    return f"trials/{number:04d}"


def _difference(there: dict[str, Any], here: dict[str, Any]) -> str:
    """The first difference between two identities, in words; empty where there is none."""
    for part, kind in (("config", TrainConfig), ("sweep", SweepConfig)):
        # A sweep of a version that lacked an option did what its default does.
        theirs: dict[str, Any] = {f.name: f.default for f in fields(kind)}
        theirs |= by_new_names(kind, there.get(part, {}))
        for name, value in here[part].items():
            alike = name == "block" and same_block(theirs[name], value)
            if theirs[name] != value and not alike:
                return f"{flag(name)} {theirs[name]} there, {value} now"
    if by_new_names(TrainConfig, there.get("space", {})) != here["space"]:
        return "its --space differs"
    return "its data differ, or the code of its block" if there.get("data") != here["data"] else ""

"""What lies in a folder of runs: runs, sweeps, comparisons, and what of it cannot be read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from noprop_dist.config import FREE_FIELDS, TrainConfig
from noprop_dist.config.fields import flag
from noprop_dist.errors import UserError
from noprop_dist.record.folder import Reader
from noprop_dist.record.store import Store, inside
from noprop_dist.run_files import COMPARISON, SWEEP, holds_run, is_ours
from noprop_dist.see.facts import RunFacts, read_run

# Options that the list has columns for.
TOLD = {"dataset", "num_blocks", "embedding_type", "epochs", "seed"}
TRIAL = re.compile(r"\d{4,}")


@dataclass(frozen=True)
class Entry:
    """A folder in the list.

    Attributes:
        kind: what it holds.
        name: of the folder.
        folder: with the folder it lies in.
        facts: of a run that can be read.
        state: "finished", "running", "stopped" or "damaged".
        about: of a sweep or a comparison, its size; of a damaged run, what is wrong.
        dataset: of a sweep or a comparison.
        started: in seconds since 1970; None where nothing tells.
        differs: options of a run that are not the same in all runs of the list, in words.
    """

    kind: Literal["run", "sweep", "comparison"]
    name: str
    folder: str
    facts: RunFacts | None = None
    state: str = "damaged"
    about: str = ""
    dataset: str = "-"
    started: float | None = None
    differs: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for programs."""
        if self.facts:
            return self.facts.to_dict()
        return {k: v for k, v in vars(self).items() if k not in ("facts", "dataset", "differs")}


def list_runs(folder: str) -> list[Entry]:
    """What lies in a folder, newest first; a damaged run is an entry that says so.

    Args:
        folder: of run folders, or its URI.

    Raises:
        UserError: it is missing, holds nothing of ours, or is a run itself.
    """
    store = Store(folder, "FOLDER")
    try:
        names = store.list("")
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror or error}).") from error
    if is_ours(names):
        raise UserError(
            f"{folder} is itself a run's folder: give the folder it lies in, or tell noprop show "
            "of it."
        )
    entries = [e for name in names if not name.startswith(".") for e in _entry(store, name)]
    if not entries:
        there = names or store.exists("")
        raise UserError(
            f"{folder} holds no runs: give a folder of run folders, or train one with noprop train."
            if there
            else f"{folder}: there is no such folder; noprop train makes checkpoints_run."
        )
    newest_first = sorted(entries, key=lambda e: (e.started or 0.0, e.name), reverse=True)
    return _with_differences(newest_first)


def _with_differences(entries: list[Entry]) -> list[Entry]:
    """The runs with those of their options that not all of them share."""
    configs = [e.facts.config.to_dict() for e in entries if e.facts]
    known = [f.name for f in fields(TrainConfig) if f.name not in FREE_FIELDS | TOLD]
    varied = [name for name in known if len({repr(config[name]) for config in configs}) > 1]

    def differs(facts: RunFacts) -> tuple[str, ...]:
        values = facts.config.to_dict()
        usual = {f.name: f.default for f in fields(TrainConfig)}
        return tuple(
            f"{flag(name)} {values[name]}" for name in varied if values[name] != usual[name]
        )

    return [replace(e, differs=differs(e.facts)) if e.facts else e for e in entries]


def _entry(store: Store, name: str) -> Iterator[Entry]:
    """The entry of a folder; none where it holds nothing of ours."""
    folder = inside(store.root, name)
    try:
        names = store.list(name)
        if SWEEP in names:
            yield _of_several(Store(folder, "FOLDER"), "sweep", name)
        elif COMPARISON in names:
            yield _of_several(Store(folder, "FOLDER"), "comparison", name)
        elif holds_run(names):
            facts = read_run(folder)
            yield Entry("run", name, folder, facts, facts.state, started=facts.started)
    except UserError as error:
        yield Entry("run", name, folder, about=str(error))
    except OSError as error:
        yield Entry("run", name, folder, about=f"it cannot be read ({error.strerror or error})")


def _of_several(store: Store, kind: Literal["sweep", "comparison"], name: str) -> Entry:
    """A folder that holds several runs."""
    if kind == "sweep":
        file = SWEEP
        trials = [t for t in store.list("trials") if TRIAL.fullmatch(t)]
        ended = sum(store.exists(f"trials/{t}/outcome.json") for t in trials)
        done = ended == len(trials) and store.exists("best_config.yaml")
        about = f"{ended} of {len(trials)} trials ended"
    else:
        file = COMPARISON
        measured = sum(n.endswith(".json") for n in store.list("measured"))
        done = store.exists("comparison.json")
        about = f"{measured} measurement{'s' * (measured != 1)}"
    state = "running" if store.holder() else "finished" if done else "stopped"
    config = (Reader(store).json(file) or {}).get("config")
    dataset = config.get("dataset", "-") if isinstance(config, dict) else "-"
    started = store.written(file)
    return Entry(
        kind, name, store.root, None, state, about=about, dataset=str(dataset), started=started
    )

"""What lies in a folder of runs: runs, sweeps, comparisons, and what of it cannot be read."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from noprop_dist.config import FREE_FIELDS, TrainConfig
from noprop_dist.config.fields import as_flag
from noprop_dist.errors import UserError, reading
from noprop_dist.record.store import Store, inside
from noprop_dist.run_files import COMPARISON, SWEEP, holds_run, is_ours
from noprop_dist.see.facts import RunFacts, read_run
from noprop_dist.see.several import Several, read_several

# Options that the list has columns for.
TOLD = {"dataset", "num_blocks", "embedding_type", "epochs", "seed"}


@dataclass(frozen=True)
class Entry:
    """A folder in the list.

    Attributes:
        name: of the folder.
        folder: with the folder it lies in.
        facts: of a run that can be read.
        several: of a sweep or a comparison that can be read.
        about: what is wrong with what cannot.
        differs: options of a run that are not the same in all runs of the list, in words.
    """

    name: str
    folder: str
    facts: RunFacts | None = None
    several: Several | None = None
    about: str = ""
    differs: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """Finished, running, stopped or damaged."""
        known = self.facts or self.several
        return known.state if known else "damaged"

    @property
    def started(self) -> float | None:
        """In seconds since 1970; None where nothing tells."""
        known = self.facts or self.several
        return known.started if known else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for programs."""
        if known := self.facts or self.several:
            return known.to_dict()
        told = {"name": self.name, "folder": self.folder, "about": self.about}
        return {"kind": "run", "state": self.state, "started": None} | told


def list_runs(folder: str) -> list[Entry]:
    """What lies in a folder, newest first; a damaged run is an entry that says so.

    Args:
        folder: of run folders, or its URI.

    Raises:
        UserError: it is missing, holds nothing of ours, or is a run itself.
    """
    store = Store(folder, "FOLDER")
    with reading(folder):
        names = store.list("")
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
            " ".join(as_flag(name, values[name])) for name in varied if values[name] != usual[name]
        )

    return [replace(e, differs=differs(e.facts)) if e.facts else e for e in entries]


def _entry(store: Store, name: str) -> Iterator[Entry]:
    """The entry of a folder; none where it holds nothing of ours."""
    folder = inside(store.root, name)
    try:
        names = store.list(name)
        if {SWEEP, COMPARISON} & {*names}:
            yield Entry(name, folder, several=read_several(folder))
        elif holds_run(names):
            yield Entry(name, folder, read_run(folder))
    except UserError as error:
        yield Entry(name, folder, about=str(error))
    except OSError as error:
        yield Entry(name, folder, about=f"it cannot be read ({error.strerror or error})")

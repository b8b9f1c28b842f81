"""What is known of a sweep or a comparison from the files of its folder alone.

Nothing here imports PyTorch or Ray, so that many are listed in little time.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from noprop_dist.config import TrainConfig
from noprop_dist.errors import reading
from noprop_dist.record.folder import Reader
from noprop_dist.record.run_config import config_of, read_config
from noprop_dist.record.store import Store, inside
from noprop_dist.run_files import COMPARISON, SWEEP
from noprop_dist.text import how_many, last_part
from noprop_dist.tune.reports import METRIC
from noprop_dist.tune.space import BLOCK
from noprop_dist.tune.sweep_folder import SweepFolder, trial_path
from noprop_dist.tune.trial_table import Row, ranked, row_of

BEST = 10  # trials that are shown


@dataclass(frozen=True, kw_only=True)
class Several:
    """A sweep or a comparison.

    Attributes:
        kind: which of the two.
        folder: as the user names it.
        state: "finished"; "running": a live process holds the folder; "stopped": neither.
        about: how much of it is there, in words.
        config: the options that its runs share.
        started: in seconds since 1970; None where nothing tells.
        search: of a sweep, its options; see ``SweepConfig``.
        space: of a sweep, by option what is tried, as a line of its YAML file.
        rows: of a sweep, its trials, best first; see ``row_of``.
    """

    kind: Literal["sweep", "comparison"]
    folder: str
    state: str
    about: str
    config: TrainConfig
    started: float | None
    search: dict[str, Any] = field(default_factory=dict)
    space: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @property
    def best(self) -> Row | None:
        """The best trial of whole networks, where one was trained."""
        return next((row for row in self.rows if row[METRIC] is not None), None)

    @property
    def shown(self) -> list[Row]:
        """The trials to show: the best, or the best of every block where each is searched alone."""
        if not self.search.get("per_block"):
            return self.rows[:BEST]
        of_blocks: dict[int, Row] = {}
        for row in self.rows:
            of_blocks.setdefault(row[BLOCK], row)
        return list(of_blocks.values())

    def to_dict(self) -> dict[str, Any]:
        """What a list tells of it, as plain values."""
        return {
            "kind": self.kind,
            "name": last_part(self.folder),
            "folder": self.folder,
            "state": self.state,
            "about": self.about,
            "dataset": self.config.dataset,
            "best_val_accuracy": self.best[METRIC] if self.best else None,
            "started": self.started,
        }


def read_several(folder: str) -> Several | None:
    """What is known of a sweep or a comparison; None where the folder holds neither.

    Args:
        folder: of runs of one purpose, or its URI.

    Raises:
        UserError: a file is damaged, or the folder cannot be read.
    """
    store = Store(folder, "RUN")
    with reading(folder):
        names = store.list("")
        if SWEEP in names:
            return _sweep(store)
        return _comparison(store) if COMPARISON in names else None


def _sweep(store: Store) -> Several:
    found = SweepFolder(store)
    found.read_trials()
    there = found.identity() or {}
    config = config_of(there.get("config", {}), f"{store.root}/{SWEEP}")
    # The sweep is known by its rows, not by where they lie: what they are called, a trial says.
    trials = (read_config(Store(inside(store.root, trial_path(n)))) for n in found.trials)
    dataset = next((told.dataset for told in trials if told is not None), "-")
    ended, begun = len(found.ended), len(found.trials)
    return Several(
        kind="sweep",
        folder=store.root,
        state=_state(store, ended == begun and store.exists("best_config.yaml")),
        about=f"{ended} of {how_many(begun, 'trial')} ended",
        config=replace(config, dataset=dataset),
        started=store.written(SWEEP),
        search=there.get("sweep", {}),
        space=there.get("space", {}),
        rows=ranked([row_of(trial, config) for trial in found.trials.values()]),
    )


def _comparison(store: Store) -> Several:
    measured = sum(name.endswith(".json") for name in store.list("measured"))
    there = Reader(store, "a comparison").json(COMPARISON) or {}
    return Several(
        kind="comparison",
        folder=store.root,
        state=_state(store, store.exists("comparison.json")),
        about=how_many(measured, "measurement"),
        config=config_of(there.get("config", {}), f"{store.root}/{COMPARISON}"),
        started=store.written(COMPARISON),
    )


def _state(store: Store, done: bool) -> str:
    return "running" if store.holder() else "finished" if done else "stopped"

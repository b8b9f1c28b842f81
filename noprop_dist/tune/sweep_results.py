"""What a sweep leaves: a table of all trials, the best settings, and pictures."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import yaml

from noprop_dist.config import TrainConfig
from noprop_dist.config.groups import DataOptions
from noprop_dist.draw import trials
from noprop_dist.draw.style import save_figure
from noprop_dist.errors import UserError, needing
from noprop_dist.record.history import NO_PANDAS
from noprop_dist.record.store import Store
from noprop_dist.text import markdown_table
from noprop_dist.tune.per_block import PerBlock, assemble, middle
from noprop_dist.tune.reports import METRIC
from noprop_dist.tune.search import Search
from noprop_dist.tune.space import BLOCK, FIXED, Settings, settle
from noprop_dist.tune.trial_table import Row, cells_of, ranked, row_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

TEN = 10
# Options that best_config.yaml leaves to whoever trains with it: where, and for how long.
LEFT_OUT = FIXED - {f.name for f in fields(DataOptions)} - {"seed"} | {"epochs"}


@dataclass(frozen=True)
class SweepResult:
    """What a sweep has found.

    Attributes:
        folder: the sweep's.
        best: the best trial's number; None where no network was trained, or blocks alone.
        settings: the best ones; with ``--per-block`` the best single ones for all blocks, or, where
            none were tried on all of them, the median of what is best for each.
        val_accuracy: of the best trial's best epoch, z_T on validation images, as a fraction.
        rows: by trial, best first: its number, status, what it reached and its settings.
        searched: the names of the settings that vary.
        complete: whether every trial has ended.
        seconds: that this call searched, Ray's start not counted; 0 where nothing was left to do.
        per_block: what tuning each block alone has bought; None where it was not done, or is not
            complete.
        config: the options that do not vary.
    """

    folder: str
    best: int | None
    settings: Settings
    val_accuracy: float | None
    rows: list[Row]
    searched: list[str]
    complete: bool
    seconds: float
    per_block: PerBlock | None
    config: TrainConfig

    @property
    def best_config(self) -> TrainConfig:
        """The options of the best trial, for a run of its own.

        Raises:
            UserError: no trial has been trained yet.
        """
        if not self.settings:
            raise UserError(f"{self.folder} has no trial yet that was trained: let it go on.")
        return replace(self.config, name=None, run_dir=None, **self.settings)

    def to_pandas(self) -> "pandas.DataFrame":
        """A row per trial, best first.

        Raises:
            UserError: pandas is not installed.
        """
        with needing("pandas", NO_PANDAS):
            import pandas
        return pandas.DataFrame(self.rows)


def write_report(search: Search, seconds: float = 0.0) -> SweepResult:
    """Write ``results.parquet``, ``results.csv``, ``best_config.yaml``, ``best.md`` and ``plots/``.

    With ``--per-block``, once all trials have ended, also ``model/`` and ``blocks.yaml``.

    Args:
        search: what was searched.
        seconds: that it took in this call.

    Raises:
        UserError: a block has no trial that could be trained.
    """
    config, folder = search.config, search.folder
    store = folder.store
    rows = ranked([row_of(trial, config) for trial in folder.trials.values()])
    trained = [row for row in rows if row[search.metric] is not None]
    complete = len(folder.ended) >= search.count
    best, settings, per_block = None, {}, None
    if rows:
        cells = [cells_of(row, list(search.space)) for row in rows[:TEN]]
        table = markdown_table([list(cells[0]), *(list(row.values()) for row in cells)])
        _write_table(store, rows)
        store.write("best.md", table.encode())
    if search.options.per_block and complete:
        per_block = assemble(search, rows)
        settings = per_block.one_for_all_settings
        head = (
            f"# The best for all {config.num_blocks} blocks alike; blocks.yaml has each one's own."
        )
        if per_block.one_for_all is None:
            settings = middle(per_block, search.space)
            head = "# The median over blocks of each one's best, not tried together."
        _write_best(store, head, settings, config)
    elif trained and not search.options.per_block:
        best = trained[0]["trial"]
        settings = settle(folder.trials[best].settings, config)
        reached = f"{100 * trained[0][METRIC]:.2f} % after epoch {trained[0]['best_epoch']}"
        head = f"# Trial {best} of {len(rows)}: validation accuracy {reached}."
        _write_best(store, head, settings, config)
    if trained and config.plots:
        _draw(search, rows, trained)
    return SweepResult(
        folder=store.root,
        best=best,
        settings=settings,
        val_accuracy=trained[0][METRIC] if best is not None else None,
        rows=rows,
        searched=list(search.space),
        complete=complete,
        seconds=seconds,
        per_block=per_block,
        config=config,
    )


def _write_table(store: Store, rows: list[Row]) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    for name, write in (
        ("results.parquet", pyarrow.parquet.write_table),
        ("results.csv", pyarrow.csv.write_csv),
    ):
        data = io.BytesIO()
        write(table, data)
        store.write(name, data.getvalue())


def _column(values: list[Any]) -> pa.Array:
    """One type per column: text where values are of several kinds."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) > 1 and kinds != {int, float}:
        return pa.array([None if v is None else str(v) for v in values])
    return pa.array(values) if kinds else pa.nulls(len(values), pa.string())


def _write_best(store: Store, head: str, settings: Settings, config: TrainConfig) -> None:
    left_out = LEFT_OUT - settings.keys()
    values = {
        f.name: settings.get(f.name, getattr(config, f.name))
        for f in fields(TrainConfig)
        if f.name not in left_out
    }
    try:
        TrainConfig(**values)
    except UserError:  # such as a long warm-up, which does not go with the default
        values["epochs"] = config.epochs
    if "epochs" not in values:
        head += "\n# How long to train is left to --epochs."
    text = yaml.safe_dump(values, sort_keys=False)
    store.write("best_config.yaml", f"{head}\n{text}".encode())


def _draw(search: Search, rows: Sequence[Row], trained: Sequence[Row]) -> None:
    folder = search.folder
    settings = {
        name: trials.Setting(varied.kind, varied.values, [row.get(name) for row in trained])
        for name, varied in search.space.items()
    }
    settings = {name: setting for name, setting in settings.items() if setting.varied}
    reached = [row[search.metric] for row in trained]
    status = {row["trial"]: row["status"] for row in rows}

    def curves() -> "Figure":
        told = {number: folder.reports(number) for number in status}
        by_epoch = {number: [r[METRIC] for r in reports] for number, reports in told.items()}
        return trials.plot_curves(by_epoch, status, rows[0]["trial"])

    def blocks() -> "Figure":
        return trials.plot_block_trials([row[BLOCK] for row in trained], reached, settings)

    def against() -> "Figure":
        return trials.plot_settings(reached, [row["status"] for row in trained], settings)

    def parallel() -> "Figure":
        return trials.plot_parallel(reached, settings)

    if search.options.per_block:
        if settings:
            save_figure(folder.store, "plots/blocks.png", blocks)
        return
    made = [("trials", curves), ("settings", against), ("parallel", parallel)]
    # Without a setting there is nothing to draw it against, and one alone has no parallel axis.
    for name, make in made[: 1 + min(len(settings), 2)]:
        save_figure(folder.store, f"plots/{name}.png", make)

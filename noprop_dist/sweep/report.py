"""What a sweep leaves: a table of all trials, the best settings, and pictures."""

import io
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from noprop_dist.config import TrainConfig
from noprop_dist.errors import UserError
from noprop_dist.record.events import read_events
from noprop_dist.record.plots import save_figure
from noprop_dist.record.progress import percent
from noprop_dist.record.store import Store, inside
from noprop_dist.sweep.assemble import PerBlock, assemble
from noprop_dist.sweep.block_trial import BLOCK_METRIC
from noprop_dist.sweep.journal import FAILED, Journal, Trial, run_folders
from noprop_dist.sweep.search import Search, Spent
from noprop_dist.sweep.space import FIXED, Settings, Space, settle
from noprop_dist.sweep.trial import BLOCK, METRIC

TEN = 10
MEASURED = (METRIC, "val_mean_softmax", BLOCK_METRIC, "train_loss")
Row = dict[str, Any]
# Options that best_config.yaml leaves to whoever trains with it: where, and for how long.
LEFT_OUT = FIXED - {
    "dataset", "data_dir", "skip_bad_images", "image_size", "max_train_images", "val_fraction",
    "seed",
} | {"epochs"}  # fmt: skip


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
        share_in_units: of the time of all devices that trials may take, from when the first one
            began, what lies inside units; None where nothing was left to do.
        per_block: what tuning each block alone has bought; None where it was not done, or is not
            complete.
    """

    folder: str
    best: int | None
    settings: Settings
    val_accuracy: float | None
    rows: list[dict[str, Any]]
    searched: list[str]
    complete: bool
    seconds: float
    share_in_units: float | None
    per_block: PerBlock | None


def write_report(search: Search, spent: Spent) -> SweepResult:
    """Write ``results.parquet``, ``results.csv``, ``best_config.yaml``, ``best.md`` and ``plots/``.

    With ``--per-block``, once all trials have ended, also ``model/`` and ``blocks.yaml``.

    Args:
        search: what was searched.
        spent: what it took.

    Raises:
        UserError: a block has no trial that could be trained.
    """
    journal, config, store = search.journal, search.config, search.journal.store
    metric = BLOCK_METRIC if search.options.per_block else METRIC
    ranked = rank(list(journal.trials.values()), metric)
    rows = [row_of(trial, config) for trial in ranked]
    searched = list(search.space)
    complete = len(journal.ended) >= search.count
    trained = [row for row in rows if row[metric] is not None]
    best, settings, per_block = None, {}, None
    if rows:
        _write_table(store, rows)
        store.write("best.md", markdown(rows[:TEN], searched).encode())
    if search.options.per_block and complete:
        per_block = assemble(journal, config, search.splits)
        settings = per_block.one_for_all_settings
        head = (
            f"# The best for all {config.num_blocks} blocks alike; blocks.yaml has each one's own."
        )
        if per_block.one_for_all is None:
            settings = middle(per_block, search.space)
            head = "# The median over blocks of each one's best, not tried together."
        _write_best(store, head, settings, config)
    elif trained and not search.options.per_block:
        best, settings = trained[0]["trial"], settings_of(ranked[0], config)
        reached = f"{100 * trained[0][METRIC]:.2f} % after epoch {trained[0]['best_epoch']}"
        head = f"# Trial {best} of {len(rows)}: validation accuracy {reached}."
        _write_best(store, head, settings, config)
    if trained and not config.no_plots:
        _draw(search, rows, trained, metric)
    return SweepResult(
        folder=store.root,
        best=best,
        settings=settings,
        val_accuracy=trained[0][METRIC] if best is not None else None,
        rows=rows,
        searched=searched,
        complete=complete,
        seconds=spent.seconds,
        share_in_units=_share_in_units(journal, spent) if spent.slots else None,
        per_block=per_block,
    )


def rank(trials: Sequence[Trial], metric: str) -> list[Trial]:
    """Best first.

    By validation accuracy of z_T, then of the mean softmax, then by epochs; trials of single
    blocks by block and their loss. A trial that failed or has not ended comes last.
    """

    def key(trial: Trial) -> tuple[float, ...]:
        outcome = trial.outcome
        if outcome is None or outcome.status == FAILED or metric not in outcome.best:
            return 1, trial.number
        best = outcome.best
        if metric == BLOCK_METRIC:
            return 0, trial.settings[BLOCK], best[metric], trial.number
        return 0, -best[metric], -best["val_mean_softmax"], -outcome.epochs, trial.number

    return sorted(trials, key=key)


def settings_of(trial: Trial, config: TrainConfig) -> Settings:
    """What a trial was trained with in the end, of the options that vary."""
    changed = trial.outcome.changed if trial.outcome else {}
    return settle(trial.settings | changed, config)


def middle(found: PerBlock, space: Space) -> Settings:
    """The median over blocks of each one's best, or what most of them have."""
    settings: Settings = {}
    for name, dimension in space.items():
        values = [block["settings"][name] for block in found.blocks.values()]
        numbers = dimension.kind != "choice"
        settings[name] = statistics.median_low(values) if numbers else statistics.mode(values)
    return settings


def row_of(trial: Trial, config: TrainConfig) -> dict[str, Any]:
    """One line of the table."""
    outcome = trial.outcome
    best = outcome.best if outcome and outcome.status != FAILED else {}
    return {
        "trial": trial.number,
        "status": outcome.status if outcome else "unfinished",
        **{name: best.get(name) for name in MEASURED},
        "best_epoch": int(best["epoch"]) if best else None,
        "epochs_trained": outcome.epochs if outcome else None,
        "seconds": outcome.seconds if outcome else None,
        "reason": outcome.reason if outcome else "",
        **settings_of(trial, config),
    }


def _write_table(store: Store, rows: list[dict[str, Any]]) -> None:
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
    if kinds == {int, float}:
        return pa.array([None if v is None else float(v) for v in values])
    if len(kinds) > 1:
        return pa.array([None if v is None else str(v) for v in values])
    return pa.array(values) if kinds else pa.nulls(len(values), pa.string())


def _write_best(store: Store, head: str, settings: Settings, config: TrainConfig) -> None:
    import yaml

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


def markdown(rows: Sequence[dict[str, Any]], searched: Sequence[str]) -> str:
    """The rows as a table in Markdown."""
    cells = [list(cells_of(row, searched).values()) for row in rows]
    head = list(cells_of(rows[0], searched))
    lines = [head, ["---"] * len(head), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def render(result: SweepResult) -> str:
    """What a person wants to know at the end: the ten best, and where the rest is."""
    counts = Counter(row["status"] for row in result.rows)
    counted = ", ".join(f"{count} {status}" for status, count in counts.items())
    lines = [counted or "no trial has begun"]
    shown = result.rows[:TEN]
    if result.per_block is not None:
        numbers = {block["trial"] for block in result.per_block.blocks.values()}
        shown = [row for row in result.rows if row["trial"] in numbers]
    if shown:
        cells = [cells_of(row, result.searched) for row in shown]
        heads = [heading(name).split("\n") for name in cells[0]]
        table = [[h[0] if len(h) > 1 else "" for h in heads], [h[-1] for h in heads]]
        table += [list(row.values()) for row in cells]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines += ["  ".join(f"{c:<{w}}" for c, w in zip(r, widths, strict=True)) for r in table]
    if result.per_block is not None:
        lines += render_per_block(result.per_block)
    for row in result.rows:
        if row["reason"]:
            lines.append(f"trial {row['trial']} failed: {row['reason']}")
    if result.share_in_units is not None:
        lines.append(
            f"searched for {result.seconds:.0f} s; from the first trial on, "
            f"{100 * result.share_in_units:.0f} % of their devices' time inside units"
        )
    if not result.complete:
        lines.append("the same command goes on with the trials that are left")
    if result.settings:
        lines.append(f"best settings in {result.folder}/best_config.yaml")
    lines.append(f"results in {result.folder}")
    return "\n".join(line.rstrip() for line in lines)


def render_per_block(found: PerBlock) -> list[str]:
    """What tuning each block alone has bought."""
    lines = []
    for name, network in (
        ("best of each block", found.best_of_each),
        ("one setting for all", found.one_for_all),
    ):
        if network is not None:
            test = network.test_accuracy
            lines.append(
                f"{name:<20} test z_T {100 * test.mean:.2f} % +- {100 * test.stderr:.2f}, "
                f"validation {percent(network.val_accuracy)}"
            )
    if found.num_on_all < found.num_settings:
        lines.append(
            f"every block was trained to the end with {found.num_on_all} of {found.num_settings} "
            "settings"
        )
    return lines


def cells_of(row: dict[str, Any], searched: Sequence[str]) -> dict[str, str]:
    """A row for people, by heading."""
    block = row.get(BLOCK)
    loss = row[BLOCK_METRIC]
    reached = (
        {
            "val z_T": percent(row[METRIC]),
            "mean softmax": percent(row["val_mean_softmax"]),
        }
        if block is None
        else {"block": str(block), "val loss": "-" if loss is None else f"{loss:.4g}"}
    )
    epoch = "-" if row["best_epoch"] is None else f"{row['best_epoch']}/{row['epochs_trained']}"
    return {
        "trial": str(row["trial"]),
        **reached,
        "epoch": epoch,
        "status": row["status"],
        **{name: show(row.get(name)) for name in searched},
    }


def show(value: Any) -> str:
    """A setting for people, in a few letters."""
    if value is None:
        return "-"
    if isinstance(value, float) and 0 < abs(value) < 0.01:
        digits, power = f"{value:.1e}".split("e")
        return f"{digits}e{int(power)}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def heading(name: str) -> str:
    """A column's name on two lines, so that long names do not make wide columns."""
    first, _, rest = name.replace("_", " ").partition(" ") if name != "val z_T" else (name, "", "")
    return f"{first}\n{rest}" if rest else first


def _share_in_units(journal: Journal, spent: Spent) -> float:
    """Of the devices' time since the first trial began, what logs say was inside units."""
    logs = [
        read_events(Store(inside(journal.store.root, path)))
        for number in journal.trials
        for path in run_folders(journal.store, number)
    ]
    spans = [
        (max(event["started"], spent.began), event["started"] + event["seconds"])
        for log in logs
        for event in log
        if event["event"] in ("unit", "evaluation")
        and event["started"] + event["seconds"] > spent.began
    ]
    if not spans:
        return 0.0
    since = min(began for began, _ in spans)
    seconds = spent.began + spent.seconds - since
    share: float = sum(ended - began for began, ended in spans) / (seconds * spent.slots)
    return share


def _draw(search: Search, rows: Sequence[Row], trained: Sequence[Row], metric: str) -> None:
    from noprop_dist.sweep import plots

    store, space = search.journal.store, search.space
    if metric == BLOCK_METRIC:
        save_figure(store, "plots/blocks.png", plots.plot_blocks(trained, space))
        return
    curves = {
        row["trial"]: [report[metric] for report in search.journal.reports(row["trial"])]
        for row in rows
    }
    save_figure(store, "plots/trials.png", plots.plot_curves(curves, rows))
    save_figure(store, "plots/settings.png", plots.plot_settings(trained, space))
    save_figure(store, "plots/parallel.png", plots.plot_parallel(trained, space))

"""What a sweep leaves: a table of all trials, the best settings, and pictures."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from noprop_dist.config import TrainConfig
from noprop_dist.record.events import read_events
from noprop_dist.record.plots import save_figure
from noprop_dist.record.store import Store
from noprop_dist.sweep.journal import FAILED, Journal, Trial, trial_path
from noprop_dist.sweep.search import Spent
from noprop_dist.sweep.space import FIXED, Settings, Space, settle
from noprop_dist.sweep.trial import METRIC

TEN = 10
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
        best: the best trial's number, or None where none was trained.
        settings: of the best trial.
        val_accuracy: of the best trial's best epoch, z_T on validation images, as a fraction.
        rows: by trial, best first: its number, status, what it reached and its settings.
        searched: the names of the settings that vary.
        complete: whether every trial has ended.
        seconds: that this call searched, Ray's start not counted; 0 where nothing was left to do.
        share_in_units: of the time of all devices in it, what lies inside units; None where nothing
            was left to do.
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


def write_report(
    journal: Journal, config: TrainConfig, space: Space, samples: int, spent: Spent
) -> SweepResult:
    """Write ``results.parquet``, ``results.csv``, ``best_config.yaml``, ``best.md`` and ``plots/``.

    Args:
        journal: the trials.
        config: the options that do not vary.
        space: what varies.
        samples: trials that were wanted.
        spent: what the search took.
    """
    ranked = rank(list(journal.trials.values()))
    rows = [row_of(trial, config) for trial in ranked]
    store = journal.store
    if rows:
        _write_table(store, rows)
    best = ranked[0] if ranked and ranked[0].outcome and ranked[0].outcome.best else None
    settings = settings_of(best, config) if best is not None else {}
    if best is not None:
        store.write("best_config.yaml", _best_yaml(best, settings, config, len(rows)).encode())
        store.write("best.md", markdown(rows[:TEN], list(space)).encode())
        _draw(journal, rows, space, store)
    return SweepResult(
        folder=store.root,
        best=best.number if best is not None else None,
        settings=settings,
        val_accuracy=rows[0][METRIC] if best is not None else None,
        rows=rows,
        searched=list(space),
        complete=len(journal.ended) >= samples,
        seconds=spent.seconds,
        share_in_units=_share_in_units(journal, spent) if spent.slots else None,
    )


def rank(trials: Sequence[Trial]) -> list[Trial]:
    """Best first: by validation accuracy of z_T, then of the mean softmax, then by epochs.

    A trial that failed, or that has not reported an epoch, comes last.
    """

    def key(trial: Trial) -> tuple[bool, float, float, int, int]:
        outcome = trial.outcome
        if outcome is None or outcome.status == FAILED or not outcome.best:
            return False, 0.0, 0.0, 0, -trial.number
        best = outcome.best
        return True, best[METRIC], best["val_mean_softmax"], outcome.epochs, -trial.number

    return sorted(trials, key=key, reverse=True)


def settings_of(trial: Trial, config: TrainConfig) -> Settings:
    """What a trial was trained with in the end, of the options that vary."""
    changed = trial.outcome.changed if trial.outcome else {}
    return settle(trial.settings | changed, config)


def row_of(trial: Trial, config: TrainConfig) -> dict[str, Any]:
    """One line of the table."""
    outcome = trial.outcome
    best = outcome.best if outcome else {}
    return {
        "trial": trial.number,
        "status": outcome.status if outcome else "unfinished",
        METRIC: best.get(METRIC),
        "val_mean_softmax": best.get("val_mean_softmax"),
        "best_epoch": int(best["epoch"]) if best else None,
        "epochs": outcome.epochs if outcome else None,
        "train_loss": best.get("train_loss"),
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


def _best_yaml(best: Trial, settings: Settings, config: TrainConfig, count: int) -> str:
    import yaml

    assert best.outcome is not None
    left_out = LEFT_OUT - settings.keys()
    values = {
        f.name: settings.get(f.name, getattr(config, f.name))
        for f in fields(TrainConfig)
        if f.name not in left_out
    }
    reached = f"{100 * best.outcome.best[METRIC]:.2f} % after epoch {best.outcome.best['epoch']:g}"
    head = f"# Trial {best.number} of {count}: validation accuracy {reached}.\n" + (
        "" if "epochs" in settings else "# How long to train is left to --epochs.\n"
    )
    text: str = yaml.safe_dump(values, sort_keys=False)
    return head + text


def markdown(rows: Sequence[dict[str, Any]], searched: Sequence[str]) -> str:
    """The rows as a table in Markdown."""
    cells = [list(cells_of(row, searched).values()) for row in rows]
    head = list(cells_of(rows[0], searched))
    lines = [head, ["---"] * len(head), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def render(result: SweepResult) -> str:
    """What a person wants to know at the end: the ten best, and where the rest is."""
    counts = Counter(row["status"] for row in result.rows)
    lines = [", ".join(f"{count} {status}" for status, count in counts.items())]
    if result.best is not None:
        cells = [cells_of(row, result.searched) for row in result.rows[:TEN]]
        table = [list(cells[0]), *(list(row.values()) for row in cells)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines += ["  ".join(f"{c:<{w}}" for c, w in zip(r, widths, strict=True)) for r in table]
    for row in result.rows:
        if row["reason"]:
            lines.append(f"trial {row['trial']} failed: {row['reason']}")
    if result.share_in_units is not None:
        lines.append(
            f"searched for {result.seconds:.0f} s, {100 * result.share_in_units:.0f} % of the "
            "devices' time inside units"
        )
    if not result.complete:
        lines.append("the same command goes on with the trials that are left")
    if result.best is not None:
        lines.append(f"best settings in {result.folder}/best_config.yaml")
    lines.append(f"results in {result.folder}")
    return "\n".join(line.rstrip() for line in lines)


def cells_of(row: dict[str, Any], searched: Sequence[str]) -> dict[str, str]:
    """A row for people, by heading."""
    return {
        "trial": str(row["trial"]),
        "val z_T": _percent(row[METRIC]),
        "mean softmax": _percent(row["val_mean_softmax"]),
        "epoch": "-" if row["best_epoch"] is None else f"{row['best_epoch']}/{row['epochs']}",
        "status": row["status"],
        **{name: show(row.get(name)) for name in searched},
    }


def show(value: Any) -> str:
    """A setting for people."""
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _share_in_units(journal: Journal, spent: Spent) -> float:
    """Of the devices' time since the search began, what the trials' logs say was inside units."""
    inside = 0.0
    for number in journal.trials:
        for event in read_events(Store(f"{journal.store.root}/{trial_path(number)}")):
            if event["event"] in ("unit", "evaluation"):
                ended = event["started"] + event["seconds"]
                inside += max(0.0, ended - max(event["started"], spent.began))
    return inside / (spent.seconds * spent.slots)


def _draw(journal: Journal, rows: list[dict[str, Any]], space: Space, store: Store) -> None:
    from noprop_dist.sweep import plots

    curves = {row["trial"]: journal.history(row["trial"]).val_accuracy_history for row in rows}
    trained = [row for row in rows if row[METRIC] is not None]
    save_figure(store, "plots/trials.png", plots.plot_curves(curves, rows))
    save_figure(store, "plots/settings.png", plots.plot_settings(trained, space))
    save_figure(store, "plots/parallel.png", plots.plot_parallel(trained, space))

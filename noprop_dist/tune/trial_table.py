"""A row of each trial: what it reached and its settings, for files and for people."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from noprop_dist.config import TrainConfig
from noprop_dist.text import aligned, number, percent, printable, shown
from noprop_dist.tune.reports import BLOCK_METRIC, METRIC
from noprop_dist.tune.space import BLOCK, settle
from noprop_dist.tune.sweep_folder import FAILED, Trial

MEASURED = (METRIC, "val_mean_softmax", BLOCK_METRIC, "train_loss")

Row = dict[str, Any]


def row_of(trial: Trial, config: TrainConfig) -> Row:
    """The row of a trial: its number, status, what it reached and its settings.

    Args:
        trial: ended, running or not begun.
        config: the options that do not vary.
    """
    outcome = trial.outcome
    best = outcome.best if outcome and outcome.status != FAILED else {}
    return {
        "trial": trial.number,
        "status": outcome.status if outcome else "unfinished",
        **{name: best.get(name) for name in MEASURED},
        "best_epoch": int(best["epoch"]) if best else None,
        "epochs_trained": outcome.epochs if outcome else None,
        "seconds": outcome.seconds if outcome else None,
        "reason": shown(outcome.reason) if outcome else "",
        **settle(trial.settings, config),
    }


def ranked(rows: Iterable[Row]) -> list[Row]:
    """Best first.

    By validation accuracy of z_T, then of the mean softmax, then by epochs; trials of single
    blocks by block and their loss. A trial that failed or has reported nothing comes last.
    """

    def key(row: Row) -> tuple[float, ...]:
        if row[METRIC] is not None:
            mean = row["val_mean_softmax"] or 0.0
            return 0, -row[METRIC], -mean, -row["epochs_trained"], row["trial"]
        if row[BLOCK_METRIC] is not None:
            return 0, row[BLOCK], row[BLOCK_METRIC], row["trial"]
        return 1, row["trial"]

    return sorted(rows, key=key)


def counted(rows: Iterable[Row]) -> str:
    """How many rows have which status."""
    counts = Counter(row["status"] for row in rows)
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def cells_of(row: Row, searched: Sequence[str]) -> dict[str, str]:
    """A row for people, by heading.

    Args:
        row: of a trial.
        searched: names of the settings that vary.
    """
    if BLOCK in row:
        reached = {"block": str(row[BLOCK]), "val loss": reached_by(row)}
    else:
        reached = {"val z_T": reached_by(row), "mean softmax": percent(row["val_mean_softmax"])}
    epoch = "-" if row["best_epoch"] is None else f"{row['best_epoch']}/{row['epochs_trained']}"
    return {
        "trial": str(row["trial"]),
        **reached,
        "epoch": epoch,
        "status": row["status"],
        **{name: show(row.get(name)) for name in searched},
    }


def table_of(rows: Sequence[Row], searched: Sequence[str]) -> list[str]:
    """Rows for people, as lines under heads of two lines; none where there are none."""
    cells = [cells_of(row, searched) for row in rows]
    if not cells:
        return []
    head = zip(*map(heading, cells[0]), strict=True)
    return aligned([*map(list, head), *(list(row.values()) for row in cells)])


def failures_of(rows: Iterable[Row]) -> list[str]:
    """Why trials failed, a line each."""
    failed = [row for row in rows if row["reason"]]
    return [f"trial {row['trial']} failed: {printable(row['reason'])}" for row in failed]


def reached_by(row: Row) -> str:
    """What trials are compared by, for people."""
    return number(row[BLOCK_METRIC], ".4g") if BLOCK in row else percent(row[METRIC])


def show(value: Any) -> str:
    """A setting for people, in a few letters."""
    if value is None:
        return "-"
    if isinstance(value, float) and 0 < abs(value) < 0.01:
        digits, power = f"{value:.1e}".split("e")
        return f"{digits}e{int(power)}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def heading(name: str) -> tuple[str, str]:
    """A column's name on two lines, so that long names do not make wide columns."""
    first, _, rest = name.replace("_", " ").partition(" ") if name != "val z_T" else (name, "", "")
    return (first, rest) if rest else ("", first)

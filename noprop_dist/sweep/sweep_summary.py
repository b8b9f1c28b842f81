"""What a sweep has found, for people: tables of a few letters a cell."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from noprop_dist.record.progress import percent
from noprop_dist.sweep.block_trial import BLOCK_METRIC
from noprop_dist.sweep.network_trial import BLOCK, METRIC
from noprop_dist.sweep.per_block import PerBlock
from noprop_dist.text import printable

if TYPE_CHECKING:
    from noprop_dist.sweep.sweep_results import SweepResult

TEN = 10


def markdown(rows: Sequence[dict[str, Any]], searched: Sequence[str]) -> str:
    """The rows as a table in Markdown."""
    cells = [list(cells_of(row, searched).values()) for row in rows]
    head = list(cells_of(rows[0], searched))
    lines = [head, ["---"] * len(head), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def render(result: "SweepResult") -> str:
    """What a person wants to know at the end: the ten best, and where the rest is."""
    folder = printable(result.folder)
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
            lines.append(f"trial {row['trial']} failed: {printable(row['reason'])}")
    if result.share_in_units is not None:
        lines.append(
            f"searched for {result.seconds:.0f} s; from the first trial on, "
            f"{100 * result.share_in_units:.0f} % of their devices' time inside units"
        )
    if not result.complete:
        lines.append("the same command goes on with the trials that are left")
    if result.settings:
        lines.append(f"best settings in {folder}/best_config.yaml")
    lines.append(f"results in {folder}")
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

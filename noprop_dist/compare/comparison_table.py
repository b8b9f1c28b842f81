"""The comparison as one table, for a terminal and as Markdown."""

from collections.abc import Callable

from rich import box
from rich.table import Table

from noprop_dist.compare.compare_options import heading
from noprop_dist.compare.comparison import Comparison
from noprop_dist.compare.method_rows import MIB, Facts, Row
from noprop_dist.maths.chance import margin
from noprop_dist.text import how_many, markdown_table, number, percent

Cell = Callable[[Row], str]


def lines(facts: Facts, seeds: int) -> list[tuple[str, Cell]]:
    """What is shown of each method, line by line."""
    target = f"{100 * facts.target_accuracy:g} %"
    over = f"+-, 95 %, {seeds} seeds and images" if seeds > 1 else "+-, 95 %, images alone"
    return [
        ("devices", lambda row: str(row.devices)),
        ("test accuracy of z_T, %", lambda row: percent(row.test_accuracy, unit="")),
        (over, lambda row: _margin(row.by_seed, facts)),
        ("of the mean of softmaxes, %", lambda row: percent(row.mean_accuracy, unit="")),
        (over, lambda row: _margin(row.mean_by_seed, facts)),
        ("operations, 10^12", _operations),
        ("time of training, s", lambda row: f"{row.seconds:.1f}"),
        ("time per epoch, s", lambda row: f"{row.seconds_per_epoch:.2f}"),
        (f"time to {target} validation, s", _time_to_target if facts.val_images else lambda _: "-"),
        ("images/s per device", lambda row: f"{row.images_per_s:,.0f}"),
        ("peak memory per device, MiB", lambda row: _mib(row.peak_bytes)),
        ("without the object store's, MiB", lambda row: _mib(row.own_bytes)),
        ("sent per epoch, MiB", lambda row: _mib(row.sent_bytes, ",.1f")),
        ("efficiency, % of one device", lambda row: percent(row.efficiency, ".0f", "")),
    ]


def terminal_table(comparison: Comparison) -> Table:
    """A table for ``rich``; a column a method."""
    rows = comparison.rows
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    for row in rows:
        # In two lines, so that three of them fit a terminal.
        head = heading(row.method, comparison.facts.objective)
        table.add_column("\n".join(head.rsplit(" ", 1)), justify="right")
    for name, cell in lines(comparison.facts, rows[0].seeds):
        table.add_row(name, *(cell(row) for row in rows))
    return table


def markdown(comparison: Comparison, picture: str | None) -> str:
    """``comparison.md``: the table, what it says, the picture beside it, and the versions."""
    rows, facts = comparison.rows, comparison.facts
    table = [["", *(heading(row.method, facts.objective) for row in rows)]]
    table += [[name, *map(cell, rows)] for name, cell in lines(facts, rows[0].seeds)]
    text = ["# " + title(facts), "", markdown_table(table)]
    text += [f"- {sentence}" for sentence in comparison.sentences]
    made = ", ".join(f"{name} {version}" for name, version in comparison.versions.items())
    if picture is not None:
        text += ["", f"![Accuracy against time, and what it took]({picture})"]
    text += ["", f"Made with {made}.", ""]
    return "\n".join(text)


def title(facts: Facts) -> str:
    """What was compared, in a line."""
    return (
        f"{facts.dataset}: {how_many(facts.num_blocks, 'block')}, {facts.embedding} embeddings, "
        f"{how_many(facts.epochs, 'epoch')} of {facts.train_images:,} images, "
        f"batch {facts.batch_size}, "
        f"{facts.device} in {facts.precision}"
    )


def _margin(by_seed: dict[int, float], facts: Facts) -> str:
    if not by_seed:
        return "-"
    return percent(margin(list(by_seed.values()), facts.test_images), unit="")


def _operations(row: Row) -> str:
    return number(None if row.operations is None else row.operations / 1e12, ",.2f")


def _time_to_target(row: Row) -> str:
    if row.seconds_to_target is None or row.epochs_to_target is None:
        return "not reached"
    return f"{row.seconds_to_target:.1f} (epoch {row.epochs_to_target:.3g})"


def _mib(value: float | None, form: str = ",.0f") -> str:
    return number(None if value is None else value / MIB, form)

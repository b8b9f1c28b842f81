"""What the picture of a comparison shows, in numbers."""

from typing import TYPE_CHECKING

from noprop_dist.compare.compare_options import heading
from noprop_dist.compare.comparison import Comparison
from noprop_dist.compare.comparison_table import title
from noprop_dist.compare.method_rows import MIB, Facts, Row
from noprop_dist.draw.compared import Bar, Method, plot_compared
from noprop_dist.draw.style import COLOUR_OF
from noprop_dist.maths.chance import margin

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_comparison(comparison: Comparison) -> "Figure":
    """Validation accuracy by seconds of training on the left, a bar a method and measure beside it.

    Args:
        comparison: with at least one row.
    """
    methods = [_method(comparison, row) for row in comparison.rows]
    facts = comparison.facts
    return plot_compared(title(facts), 100 * facts.target_accuracy, methods)


def _method(comparison: Comparison, row: Row) -> Method:
    facts, runs = comparison.facts, []
    for run in comparison.measured[row.method]:
        points = zip(run.seconds, run.val_accuracy, strict=True)
        known = [(seconds, 100 * value) for seconds, value in points if value is not None]
        if known:
            seconds, accuracy = zip(*known, strict=True)
            runs.append((seconds, accuracy, run.epoch_of(facts.target_accuracy)))
    to_target = f"time to {100 * facts.target_accuracy:g} % on validation (s)"
    bars = {
        "test error (%)": _error(row, facts),
        "time per epoch (s)": _bar(row.seconds_per_epoch, ".2f"),
        to_target: _bar(row.seconds_to_target, ".1f", "not reached" if facts.val_images else "-"),
        "peak memory per device (MiB)": _memory(row),
        "sent per epoch (MiB)": _bar(_scaled(row.sent_bytes, 1 / MIB), ",.1f"),
        "efficiency against one device (%)": _bar(_scaled(row.efficiency, 100), ".0f"),
    }
    name = heading(row.method, facts.objective)
    return Method(name, COLOUR_OF[row.method], runs, bars)


def _bar(value: float | None, form: str, missing: str = "-") -> Bar:
    return Bar(0.0, missing) if value is None else Bar(value, format(value, form))


def _error(row: Row, facts: Facts) -> Bar:
    error = 100 * (1 - row.test_accuracy)
    doubt = 100 * margin(list(row.by_seed.values()), facts.test_images)
    return Bar(error, f"{error:.2f} +- {doubt:.2f}", error=doubt)


def _memory(row: Row) -> Bar:
    bar, own = _bar(_scaled(row.peak_bytes, 1 / MIB), ",.0f"), _scaled(row.own_bytes, 1 / MIB)
    if own is None or bar.length - own <= 1:
        return bar
    return Bar(bar.length, f"{bar.text} ({own:,.0f} its own)", own=own)


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value * by

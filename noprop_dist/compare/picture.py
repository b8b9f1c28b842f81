"""What the picture of a comparison shows, in numbers."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from noprop_dist.compare.options import METHODS, NOPROP, SEQUENTIAL, TWIN
from noprop_dist.compare.summary import MIB, Comparison, Row
from noprop_dist.compare.table import title
from noprop_dist.draw.compared import Bar, Curve, plot_compared
from noprop_dist.draw.style import BLUE, GREEN, VERMILION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {NOPROP: BLUE, TWIN: VERMILION, SEQUENTIAL: GREEN}


def plot_comparison(comparison: Comparison) -> "Figure":
    """Validation accuracy by seconds of training on the left, a bar a method and measure beside it.

    Args:
        comparison: with at least one row.
    """
    facts = comparison.facts
    to_target = f"time to {100 * facts.target_accuracy:g} % on validation (s)"
    not_reached = "not reached" if facts.val_images else "-"
    make: Mapping[str, Callable[[Row], Bar]] = {
        "test error (%)": _error,
        "time per epoch (s)": lambda r: _bar(r, r.seconds_per_epoch, ".2f"),
        to_target: lambda r: _bar(r, r.seconds_to_target, ".1f", not_reached),
        "peak memory per device (MiB)": _memory,
        "sent per epoch (MiB)": lambda r: _bar(r, _scaled(r.sent_bytes, 1 / MIB), ",.1f"),
        "efficiency against one device (%)": lambda r: _bar(r, _scaled(r.efficiency, 100), ".0f"),
    }
    bars = {name: [bar(row) for row in comparison.rows] for name, bar in make.items()}
    return plot_compared(title(facts), 100 * facts.target_accuracy, _curves(comparison), bars)


def _curves(comparison: Comparison) -> list[Curve]:
    found = []
    for method, runs in comparison.measured.items():
        for number, run in enumerate(runs):
            points = [
                (seconds, 100 * accuracy)
                for seconds, accuracy in zip(run.seconds, run.val_accuracy, strict=True)
                if accuracy is not None
            ]
            if points:
                x, y = zip(*points, strict=True)
                reached = run.epoch_of(comparison.facts.target_accuracy)
                label = METHODS[method] if number == 0 else None
                found.append(Curve(x, y, reached, COLOURS[method], label))
    return found


def _bar(row: Row, value: float | None, form: str, missing: str = "-") -> Bar:
    return Bar(value or 0.0, missing if value is None else format(value, form), COLOURS[row.method])


def _error(row: Row) -> Bar:
    error, stderr = 100 * (1 - row.test_accuracy), 100 * (row.stderr or 0.0)
    text = f"{error:.2f}" + (f" +- {stderr:.2f}" if row.stderr is not None else "")
    return Bar(error, text, COLOURS[row.method], error=stderr)


def _memory(row: Row) -> Bar:
    bar = _bar(row, _scaled(row.peak_bytes, 1 / MIB), ",.0f")
    own = _scaled(row.own_bytes, 1 / MIB)
    if own is None or bar.length - own <= 1:
        return bar
    return Bar(bar.length, f"{bar.text} ({own:,.0f} its own)", bar.colour, own=own)


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value * by

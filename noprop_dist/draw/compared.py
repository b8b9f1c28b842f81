"""The comparison as one picture: accuracy against time, and what it took."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from noprop_dist.compare.options import METHODS, NOPROP, SEQUENTIAL, TWIN
from noprop_dist.compare.summary import MIB, Comparison, Row
from noprop_dist.compare.table import title
from noprop_dist.draw.style import BLUE, GREEN, GREY, INK, VERMILION, frame, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {NOPROP: BLUE, TWIN: VERMILION, SEQUENTIAL: GREEN}
ROOM = 6.0  # the accuracy axis begins at so many times the target's distance from 100 %

TEST_ERROR, MEMORY = "test error (%)", "peak memory per device (MiB)"

Value = Callable[[Row], float | None]


def plot_comparison(comparison: Comparison) -> "Figure":
    """Validation accuracy by seconds of training on the left, a bar a method and measure beside it.

    Args:
        comparison: with at least one row.
    """
    facts = comparison.facts
    figure = new_figure(13, 5.6)
    halves: Any = figure.subfigures(1, 2, width_ratios=(6, 7))
    left, right = halves
    words: dict[str, Any] = {"weight": "bold", "color": INK, "parse_math": False}
    figure.suptitle(title(facts), x=0.01, ha="left", fontsize=12, **words)
    _curves(left.subplots(), comparison)
    to_target = f"time to {100 * facts.target_accuracy:g} % on validation (s)"
    panels: list[tuple[str, Value, str]] = [
        (TEST_ERROR, lambda r: 100 * (1 - r.test_accuracy), ".2f"),
        ("time per epoch (s)", lambda r: r.seconds_per_epoch, ".2f"),
        (to_target, lambda r: r.seconds_to_target, ".1f"),
        (MEMORY, lambda r: _mib(r.peak_bytes), ",.0f"),
        ("sent per epoch (MiB)", lambda r: _mib(r.sent_bytes), ",.1f"),
        ("efficiency against one device (%)", _efficiency, ".0f"),
    ]
    grid = right.subplots(3, 2).ravel()
    for axes, (name, value, form) in zip(grid, panels, strict=True):
        missing = "not reached" if name == to_target and facts.val_images else "-"
        _bars(axes, name, comparison.rows, value, form, missing)
    return figure


def _curves(axes: "Axes", comparison: Comparison) -> None:
    target = 100 * comparison.facts.target_accuracy
    bottom = max(0.0, 100 - ROOM * max(100 - target, 1.0))
    for method, runs in comparison.measured.items():
        width = 1.8 if len(runs) == 1 else 1.1
        for number, run in enumerate(runs):
            points = [
                (seconds, 100 * accuracy)
                for seconds, accuracy in zip(run.seconds, run.val_accuracy, strict=True)
                if accuracy is not None
            ]
            if not points:
                continue
            x, y = zip(*points, strict=True)
            label = METHODS[method] if number == 0 else None
            axes.plot(x, y, color=COLOURS[method], label=label, linewidth=width, alpha=0.85)
            epoch = run.epoch_of(comparison.facts.target_accuracy)
            if epoch is not None:
                axes.plot(
                    *points[epoch - 1], "o", color=COLOURS[method], markersize=8,
                    markeredgecolor="white", markeredgewidth=1.4, zorder=5,
                )  # fmt: skip
    axes.axhline(target, color=GREY, linewidth=1, linestyle=(0, (5, 3)))
    axes.text(
        0.01, target, f"target {target:g} %", transform=axes.get_yaxis_transform(), ha="left",
        va="bottom", fontsize=9, color=GREY,
    )  # fmt: skip
    axes.set_ylim(bottom, 100.3)
    axes.set_xlim(left=0)
    frame(
        axes, "validation accuracy of z_T (%)", "seconds from the first step, validation included"
    )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=10, loc="lower right")


def _bars(
    axes: "Axes", name: str, rows: Sequence[Row], value: Value, form: str, missing: str
) -> None:
    """One bar a method, its value beside it, or ``missing`` where there is none."""
    values = [value(row) for row in rows]
    longest = max((v for v in values if v is not None), default=0) or 1.0
    for place, (row, v) in enumerate(zip(rows, values, strict=True)):
        end = v or 0.0
        axes.barh(place, end, height=0.62, color=COLOURS[row.method])
        text = missing if v is None else format(v, form)
        if row.stderr is not None and name == TEST_ERROR:
            text += f" +- {100 * row.stderr:.2f}"
            error = 100 * row.stderr
            axes.plot([end - error, end + error], [place, place], color=INK, linewidth=1.4)
            end += error
        if name == MEMORY and row.own_bytes is not None and end - row.own_bytes / MIB > 1:
            own = row.own_bytes / MIB
            axes.barh(place, end - own, left=own, height=0.62, color="white", alpha=0.45)
            text += f" ({own:,.0f} its own)"
        axes.text(end + 0.02 * longest, place, text, va="center", fontsize=10, color=INK)
    axes.set_xlim(0, 1.45 * longest)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(GREY)
    axes.set_title(name, loc="left", fontsize=10, color=INK)


def _mib(value: float | None) -> float | None:
    return None if value is None else value / MIB


def _efficiency(row: Row) -> float | None:
    return None if row.efficiency is None else 100 * row.efficiency

"""A comparison of methods as one picture: accuracy against time, and what it took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noprop_dist.draw.axes import frame
from noprop_dist.draw.style import GREY, INK, PAPER, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROOM = 6.0  # the accuracy axis begins at so many times the target's distance from 100 %


@dataclass(frozen=True)
class Curve:
    """One training; E epochs.

    Attributes:
        seconds: E of them, when each epoch had ended.
        percent: E of them, validation accuracy.
        reached: the epoch, from 1, that first reached the target, if any.
        colour: of its method.
        label: of the first curve of its method.
    """

    seconds: Sequence[float]
    percent: Sequence[float]
    reached: int | None
    colour: str
    label: str | None


@dataclass(frozen=True)
class Bar:
    """One measure of one method.

    Attributes:
        length: 0 where it is not known.
        text: what is written beside it.
        colour: of its method.
        error: to both sides of its end.
        own: the part of its length, from the left, that is the method's alone, if not all.
    """

    length: float
    text: str
    colour: str
    error: float = 0.0
    own: float | None = None


def plot_compared(
    title: str, target: float, curves: Sequence[Curve], bars: Mapping[str, Sequence[Bar]]
) -> "Figure":
    """Validation accuracy by seconds of training on the left, a bar a method and measure beside it.

    Args:
        title: what was compared.
        target: validation accuracy in %.
        curves: of every method and seed.
        bars: by measure, six, one a method.
    """
    figure = new_figure(13, 5.6)
    halves: Any = figure.subfigures(1, 2, width_ratios=(6, 7))
    left, right = halves
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold", parse_math=False)
    _draw_curves(left.subplots(), target, curves)
    for axes, (name, row) in zip(right.subplots(3, 2).ravel(), bars.items(), strict=True):
        _draw_bars(axes, name, row)
    return figure


def _draw_curves(axes: "Axes", target: float, curves: Sequence[Curve]) -> None:
    for curve in curves:
        axes.plot(
            curve.seconds, curve.percent, color=curve.colour, label=curve.label, linewidth=1.6,
            alpha=0.85,
        )  # fmt: skip
        if curve.reached is not None:
            at = curve.reached - 1
            axes.plot(
                curve.seconds[at], curve.percent[at], "o", color=curve.colour, markersize=8,
                markeredgecolor=PAPER, markeredgewidth=1.4, zorder=5,
            )  # fmt: skip
    axes.axhline(target, color=GREY, linewidth=1, linestyle=(0, (5, 3)))
    axes.text(
        0.01, target, f"target {target:g} %", transform=axes.get_yaxis_transform(), ha="left",
        va="bottom", fontsize=9, color=GREY,
    )  # fmt: skip
    axes.set_ylim(max(0.0, 100 - ROOM * max(100 - target, 1.0)), 100.3)
    axes.set_xlim(left=0)
    frame(
        axes, "validation accuracy of z_T (%)", "seconds from the first step, validation included"
    )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=10, loc="lower right")


def _draw_bars(axes: "Axes", name: str, bars: Sequence[Bar]) -> None:
    """One bar a method, its value beside it."""
    longest = max(bar.length for bar in bars) or 1.0
    for place, bar in enumerate(bars):
        axes.barh(place, bar.length, height=0.62, color=bar.colour)
        if bar.own is not None:
            shared = bar.length - bar.own
            axes.barh(place, shared, left=bar.own, height=0.62, color=PAPER, alpha=0.45)
        if bar.error:
            ends = [bar.length - bar.error, bar.length + bar.error]
            axes.plot(ends, [place, place], color=INK, linewidth=1.4)
        at = bar.length + bar.error + 0.02 * longest
        axes.text(at, place, bar.text, va="center", fontsize=10)
    axes.set(xlim=(0, 1.45 * longest), ylim=(len(bars) - 0.4, -0.6), xticks=[], yticks=[])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(GREY)
    axes.set_title(name, fontsize=10)

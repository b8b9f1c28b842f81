"""A comparison of methods as one picture: accuracy against time, and what it took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from noprop_dist.draw.axes import MAX_NAMES, frame, legend
from noprop_dist.draw.style import GREY, INK, PAPER, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROOM = 6.0  # the accuracy axis begins at so many times the target's distance from 100 %


@dataclass(frozen=True)
class Bar:
    """One measure of one method.

    Attributes:
        length: 0 where it is not known.
        text: what is written beside it.
        error: to both sides of its end.
        own: the part of its length, from the left, that is the method's alone, if not all.
    """

    length: float
    text: str
    error: float = 0.0
    own: float | None = None


@dataclass(frozen=True)
class Method:
    """One method of a comparison.

    Attributes:
        name: of a few words.
        colour: of all that is the method's.
        runs: of each seed (seconds, accuracy, reached): E times at which an epoch had ended, E
            validation accuracies in %, and which epoch, from 1, first reached the target, if any.
        bars: by measure, the same six for all methods; one that is nowhere known is not drawn.
    """

    name: str
    colour: str
    runs: Sequence[tuple[Sequence[float], Sequence[float], int | None]]
    bars: Mapping[str, Bar]


def plot_compared(title: str, target: float, methods: Sequence[Method]) -> "Figure":
    """Validation accuracy by seconds of training on the left, a bar a method and measure beside it.

    Args:
        title: what was compared.
        target: validation accuracy in %.
        methods: at least one.
    """
    figure = new_figure(13, 6)
    halves: Any = figure.subfigures(1, 2, width_ratios=(6, 7))
    left, right = halves
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold", parse_math=False)
    _draw_runs(left.subplots(), target, methods)
    known = [m for m in methods[0].bars if any(method.bars[m].text != "-" for method in methods)]
    for axes, measure in zip_longest(right.subplots(3, 2).ravel(), known):
        _draw_bars(axes, measure, methods) if measure else axes.axis("off")
    return figure


def _draw_runs(axes: "Axes", target: float, methods: Sequence[Method]) -> None:
    for method in methods:
        label, colour = method.name, method.colour
        for seconds, accuracy, reached in method.runs:
            mark = "o" if len(seconds) <= MAX_NAMES else ""
            axes.plot(
                seconds, accuracy, color=colour, label=label, linewidth=1.6, marker=mark, ms=4
            )
            label = "_"  # of which a legend takes no notice
            if reached is not None:
                axes.plot(
                    seconds[reached - 1], accuracy[reached - 1], "o", color=colour, markersize=8,
                    markeredgecolor=PAPER, markeredgewidth=1.4, zorder=5, clip_on=False,
                )  # fmt: skip
    axes.axhline(target, color=GREY, linewidth=1, linestyle=(0, (5, 3)))
    # At the end and below, where the curves, which have passed it, do not run.
    axes.text(
        0.99, target, f"target {target:g} %", transform=axes.get_yaxis_transform(), ha="right",
        va="top", fontsize=9, color=GREY,
    )  # fmt: skip
    best = [max(accuracy) for method in methods for _, accuracy, _ in method.runs]
    low = min([100 - ROOM * max(100 - target, 1.0), *(0.8 * value for value in best)])
    axes.set_ylim(max(0.0, low), 100.3)
    axes.set_xlim(left=0)
    frame(
        axes, "validation accuracy of z_T (%)", "seconds from the first step, validation included"
    )
    legend(axes)


def _draw_bars(axes: "Axes", measure: str, methods: Sequence[Method]) -> None:
    """One bar a method, its value beside it."""
    bars = [method.bars[measure] for method in methods]
    longest = max(bar.length + bar.error for bar in bars) or 1.0
    for place, method in enumerate(methods):
        bar = method.bars[measure]
        axes.barh(place, bar.length, height=0.62, color=method.colour)
        if bar.own is not None:
            shared = bar.length - bar.own
            axes.barh(place, shared, left=bar.own, height=0.62, color=PAPER, alpha=0.45)
        if bar.error:
            ends = [max(0.0, bar.length - bar.error), bar.length + bar.error]
            axes.plot(ends, [place, place], color=INK, linewidth=1.4)
        at = bar.length + bar.error + 0.02 * longest
        axes.text(at, place, bar.text, va="center", fontsize=10)
    axes.set(xlim=(0, 1.45 * longest), ylim=(len(methods) - 0.4, -0.6), xticks=[], yticks=[])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(GREY)
    axes.set_title(measure, fontsize=10)

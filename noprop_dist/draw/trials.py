"""Pictures of a sweep: what its trials were trained with, and what they reached. N trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from noprop_dist.draw.axes import (
    INCHES_PER_CHAR,
    bare,
    colour_bar,
    counted,
    frame,
    log_scale,
    shades,
)
from noprop_dist.draw.style import COLOUR_OF, GREY, GRID, INK, PAPER, new_figure
from noprop_dist.text import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLUMNS = 4
FLOOR = 0.25  # share of the trials that may lie below what a picture shows; they are drawn at it
BAR_INCHES, LEFT = 1.2, 0.3  # for the bar of colours, and left of the first of parallel axes

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """A setting that varied.

    Attributes:
        kind: "choice", "loguniform", or another kind of numbers.
        limits: the choices, or the two ends.
        tried: N values, None where the setting had no meaning.
    """

    kind: str
    limits: Sequence[Any]
    tried: Sequence[Any]

    @property
    def choices(self) -> list[str]:
        """Their names, with that of None where it was tried."""
        names = [str(value) for value in self.limits]
        return names + sorted({str(value) for value in self.tried} - set(names))

    @property
    def ticks(self) -> list[str]:
        """What is written beside the choices."""
        return ["-" if name == "None" else shortened(name, 11) for name in self.choices]

    @property
    def ends(self) -> list[str]:
        """What is written along an axis from its one end to the other."""
        return self.ticks if self.is_choice else [f"{end:g}" for end in self.limits]

    @property
    def at(self) -> Floats:
        """(N,) the numbers, or the places of the choices."""
        values = self.tried
        if self.is_choice:
            names = self.choices
            values = [names.index(str(value)) for value in values]
        return np.array(values, dtype=float)

    @property
    def varied(self) -> bool:
        """Whether more than one value was tried."""
        return len({str(value) for value in self.tried if value is not None or self.is_choice}) > 1

    @property
    def is_choice(self) -> bool:
        """Whether it is one of some values, of which None has a place too."""
        return self.kind == "choice"


def plot_curves(
    curves: Mapping[int, Sequence[float | None]], status: Mapping[int, str], best: int
) -> "Figure":
    """Validation accuracy by epoch, a line per trial; where one was stopped is marked.

    Args:
        curves: by trial, a fraction per epoch.
        status: by trial, "finished", "stopped", "failed" or "unfinished".
        best: the trial that reached most.
    """
    figure = new_figure(9, 5)
    axes = figure.subplots()
    told: set[str] = set()
    for number, curve in sorted(curves.items(), key=lambda item: item[0] == best):
        y = [np.nan if value is None else 100 * value for value in curve]
        if not y:
            continue
        label = f"best: trial {number}" if number == best else status[number]
        what, width = ("best", 2.6) if number == best else (status[number], 1.4)
        colour = COLOUR_OF[what]
        named = None if label in told else label
        told.add(label)
        axes.plot(
            range(1, len(y) + 1), y, color=colour, linewidth=width, label=named, alpha=0.9,
            marker="o", markersize=4,
        )  # fmt: skip
        if status[number] == "stopped":
            axes.plot(len(y), y[-1], marker="x", color=colour, markersize=7, markeredgewidth=1.6)
    ends = [100 * curve[-1] for curve in curves.values() if curve and curve[-1] is not None]
    axes.set_ylim(*_limits(np.array(ends)))
    counted(axes, "validation accuracy of z_T (%)", "epoch")
    return figure


def plot_settings(
    accuracy: Sequence[float], status: Sequence[str], settings: Mapping[str, Setting]
) -> "Figure":
    """Each searched setting against the accuracy reached.

    Args:
        accuracy: N fractions, best first.
        status: N of them, "finished" or "stopped".
        settings: what varied, by name.
    """
    figure, panels = _panels(len(settings), COLUMNS, 3.1, 2.9, sharey=True)
    y = 100 * np.array(accuracy)
    low, high = _limits(y)
    below, shown = y < low, np.maximum(y, low)
    for place, (name, setting) in enumerate(settings.items()):
        panel, x = panels[place], setting.at
        _scale(panel, panel.xaxis, setting)
        for kind in ("stopped", "finished"):
            here = np.array(status) == kind
            for some, size, mark in ((here & ~below, 26, "o"), (here & below, 30, "v")):
                panel.scatter(x[some], shown[some], s=size, color=COLOUR_OF[kind], marker=mark)
        panel.scatter(x[:1], shown[:1], s=110, color=COLOUR_OF["best"], marker="*", zorder=3)
        frame(panel, name, "")
        panel.set_ylim(low - 0.04 * (high - low), high)
        if place % COLUMNS == 0:
            panel.set_ylabel("validation accuracy (%)")
    _key(figure, has_below=bool(below.any()))
    return figure


def plot_parallel(accuracy: Sequence[float], settings: Mapping[str, Setting]) -> "Figure":
    """Parallel coordinates: a line per trial through its settings, coloured by what it reached.

    Args:
        accuracy: N fractions, best first.
        settings: what varied, by name.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    reached = 100 * np.array(accuracy)
    low = _limits(reached)[0]
    colours = ScalarMappable(Normalize(low, max(reached.max(), low + 1e-6)), shades())
    wide = max(8.0, 1.6 * len(settings) + 2.5)
    figure = new_figure(wide, 4.6)
    axes = figure.subplots()
    for place, setting in enumerate(settings.values()):
        axes.axvline(place, color=GRID, linewidth=1.4, zorder=0)
        ends = setting.ends
        for y, label in zip(np.linspace(0, 1, max(2, len(ends))), ends, strict=False):
            axes.annotate(
                label, (place, y), xytext=(4, 0), textcoords="offset points", fontsize=8,
                va="center", zorder=5,
                bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 1},
            )  # fmt: skip
    paths = np.array([_heights(setting) for setting in settings.values()]).T
    for i in range(len(paths) - 1, -1, -1):  # the best last, on top
        width, colour = 3.2 if i == 0 else 1.2, colours.to_rgba(reached[i])
        axes.plot(paths[i], color=colour, linewidth=width, alpha=0.9)
    bare(axes)
    axes.set_title("a line for each trial, a wide one for the best")
    right = 0.15 + INCHES_PER_CHAR * max(map(len, ends))  # what is written beside the last axis
    apart = (wide - BAR_INCHES - LEFT - right) / max(len(settings) - 1, 1)
    axes.set(xlim=(-LEFT / apart, len(settings) - 1 + right / apart), ylim=(-0.08, 1.08))
    axes.set_xticks(range(len(settings)), list(settings), fontsize=9)
    axes.tick_params(length=0)
    extend = "min" if (reached < low).any() else "neither"
    colour_bar(colours, axes, "validation accuracy (%)", shrink=0.85, pad=0.02, extend=extend)
    return figure


def plot_block_trials(
    blocks: Sequence[int], losses: Sequence[float], settings: Mapping[str, Setting]
) -> "Figure":
    """Of every block, the settings tried: the stronger, the nearer to its smallest loss.

    Args:
        blocks: N of them, t of each trial.
        losses: N of them, on validation images.
        settings: what varied, by name.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    t, loss = np.array(blocks), np.array(losses)
    excess, best = np.ones(len(t)), np.zeros(len(t), bool)
    for block in np.unique(t):
        here = t == block
        excess[here] = loss[here] / max(loss[here].min(), 1e-12)
        best |= here & (loss == loss[here].min())
    norm = LogNorm(1, max(1.05, min(float(excess.max()), 2.0)))
    colours = ScalarMappable(norm, shades("Greys").reversed())
    figure, panels = _panels(len(settings), 2, 5.2, 3.2)
    for panel, (name, setting) in zip(panels, settings.items(), strict=True):
        y = setting.at
        _scale(panel, panel.yaxis, setting)
        panel.scatter(t, y, c=colours.to_rgba(excess), s=34, edgecolors=GREY, linewidths=0.5)
        panel.scatter(
            t[best], y[best], s=200, color=COLOUR_OF["best"], marker="*", edgecolors=PAPER,
            linewidths=1.2, zorder=3, label="the block's best",
        )  # fmt: skip
        counted(panel, name, "block t")
    label = "validation loss over the block's smallest"
    bar = colour_bar(
        colours, panels, label, shrink=0.7, extend="max" if excess.max() > norm.vmax else "neither"
    )
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.yaxis.set_minor_formatter("{x:g}")
    return figure


def _panels(
    count: int, most: int, width: float, height: float, *, sharey: bool = False
) -> "tuple[Figure, list[Axes]]":
    """A figure of so many panels of so many inches, at most so many beside each other."""
    columns = min(most, count)
    lines = -(-count // columns)
    figure = new_figure(width * columns, height * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=sharey).ravel()
    for panel in panels[count:]:
        panel.axis("off")
    return figure, list(panels[:count])


def _limits(percent: Floats) -> tuple[float, float]:
    """The ends of the axis: bad trials must not press the good ones together."""
    if not len(percent):
        return 0.0, 100.0
    low, high = float(np.quantile(percent, FLOOR)), float(percent.max())
    reach = max(high - low, 1.0)
    return max(0.0, float(np.floor(low - 0.3 * reach))), min(101.0, high + 0.15 * reach)


def _scale(axes: "Axes", axis: "Axis", setting: Setting) -> None:
    """The scale and ticks of the axis along which a setting is drawn."""
    from matplotlib.ticker import MaxNLocator

    along = axis.axis_name  # type: ignore[attr-defined]
    if setting.is_choice:
        axis.set_ticks(range(len(setting.choices)), setting.ticks)
        axes.set(**{f"{along}lim": (-0.6, len(setting.choices) - 0.4)})
    elif setting.kind == "randint":
        axis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    elif setting.kind == "loguniform":
        low, high = setting.limits
        log_scale(axes, setting.limits, along)
        axes.set(**{f"{along}lim": (low / 1.15, high * 1.15)})


def _heights(setting: Setting) -> Floats:
    """(N,) where the values lie between 0 and 1."""
    at = setting.at
    low, high = (0, len(setting.choices) - 1) if setting.is_choice else setting.limits
    if setting.kind == "loguniform":
        at, low, high = np.log(at), np.log(low), np.log(high)
    heights: Floats = (at - low) / max(high - low, 1e-12)
    return heights


def _key(figure: "Figure", *, has_below: bool) -> None:
    from matplotlib.lines import Line2D

    kinds = [("best", "*", 11), ("finished", "o", 6), ("stopped", "o", 6)]
    kinds += [("below the axis", "v", 6)] if has_below else []
    handles = [
        Line2D([], [], color=COLOUR_OF.get(name, INK), marker=mark, ms=size, ls="", label=name)
        for name, mark, size in kinds
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)

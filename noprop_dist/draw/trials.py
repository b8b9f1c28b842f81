"""Pictures of a sweep: what its trials were trained with, and what they reached. N trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from noprop_dist.draw.axes import bare, colour_bar, frame, shades_of_blue
from noprop_dist.draw.style import BLUE, GREY, GRID, INK, ORANGE, PAPER, VERMILION, new_figure
from noprop_dist.text import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLUMNS = 4
FLOOR = 0.25  # share of the trials that may lie below what a picture shows; they are drawn at it
COLOURS = {"finished": ORANGE, "stopped": GREY, "failed": VERMILION, "unfinished": GREY}

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
    def at(self) -> Floats:
        """(N,) the numbers, or the places of the choices."""
        values = self.tried
        if self.kind == "choice":
            values = [self.choices.index(str(value)) for value in values]
        return np.array(values, dtype=float)


def plot_curves(
    curves: Mapping[int, Sequence[float | None]], status: Mapping[int, str], best: int
) -> "Figure":
    """Validation accuracy by epoch, a line per trial; where one was stopped is marked.

    Args:
        curves: by trial, a fraction per epoch.
        status: by trial, one of ``COLOURS``.
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
        colour, width = (BLUE, 2.6) if number == best else (COLOURS[status[number]], 1.2)
        named = None if label in told else label
        told.add(label)
        axes.plot(
            range(1, len(y) + 1), y, color=colour, linewidth=width, label=named, alpha=0.9,
            marker="o", markersize=3,
        )  # fmt: skip
        if status[number] == "stopped":
            axes.plot(len(y), y[-1], marker="x", color=colour, markersize=7, markeredgewidth=1.6)
    ends = [100 * curve[-1] for curve in curves.values() if curve and curve[-1] is not None]
    low = _floor(np.array(ends))
    axes.set_ylim(low, 100 + 0.03 * (100 - low))
    frame(axes, "validation accuracy of z_T (%)", "epoch")
    if told:
        figure.legend(loc="outside lower center", ncols=5)
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
    low = _floor(y)
    below, shown = y < low, np.maximum(y, low)
    for place, (name, setting) in enumerate(settings.items()):
        panel, x = panels[place], setting.at
        _scale(panel, panel.xaxis, setting)
        for kind in ("stopped", "finished"):
            here = np.array(status) == kind
            for some, size, mark in ((here & ~below, 26, "o"), (here & below, 30, "v")):
                panel.scatter(x[some], shown[some], s=size, color=COLOURS[kind], marker=mark)
        panel.scatter(x[:1], shown[:1], s=110, color=BLUE, marker="*", zorder=3)
        frame(panel, name, "")
        panel.set_ylim(low - 0.04 * (100 - low), 100 + 0.06 * (100 - low))
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
    norm = Normalize(_floor(reached), max(reached.max(), _floor(reached) + 1e-6))
    colours = ScalarMappable(norm, "viridis")
    figure = new_figure(max(8.0, 1.6 * len(settings) + 2.5), 4.6)
    axes = figure.subplots()
    for place, setting in enumerate(settings.values()):
        axes.axvline(place, color=GRID, linewidth=1.4, zorder=0)
        ends = [f"{end:g}" for end in setting.limits] if setting.kind != "choice" else setting.ticks
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
    axes.set(xlim=(-0.2, len(settings) - 0.35), ylim=(-0.08, 1.08))
    axes.set_xticks(range(len(settings)), list(settings), fontsize=9)
    axes.tick_params(length=0)
    colour_bar(colours, axes, "validation accuracy (%)", shrink=0.85, pad=0.02, extend="min")
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
    colours = ScalarMappable(norm, shades_of_blue().reversed())
    figure, panels = _panels(len(settings), 2, 5.2, 3.2)
    for panel, (name, setting) in zip(panels, settings.items(), strict=True):
        y = setting.at
        _scale(panel, panel.yaxis, setting)
        panel.scatter(t, y, c=colours.to_rgba(excess), s=34, edgecolors=GREY, linewidths=0.5)
        panel.scatter(t[best], y[best], s=120, color=ORANGE, marker="*", edgecolors=INK, zorder=3)
        frame(panel, name, "block t")
        panel.set_xticks(np.unique(t))
    label = "validation loss over the block's smallest"
    bar = colour_bar(colours, panels, label, shrink=0.7, extend="max")
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


def _floor(percent: Floats) -> float:
    """Where the axis begins: bad trials must not press the good ones together."""
    if not len(percent):
        return 0.0
    low = float(np.quantile(percent, FLOOR))
    return max(0.0, float(np.floor(low - 0.15 * (100 - low))))


def _scale(axes: "Axes", axis: "Axis", setting: Setting) -> None:
    """The scale and ticks of the axis along which a setting is drawn."""
    from matplotlib.ticker import NullFormatter

    along = axis.axis_name  # type: ignore[attr-defined]
    if setting.kind == "choice":
        axis.set_ticks(range(len(setting.choices)), setting.ticks)
        axes.set(**{f"{along}lim": (-0.6, len(setting.choices) - 0.4)})
    elif setting.kind == "loguniform":
        low, high = setting.limits
        axes.set(**{f"{along}scale": "log"})
        axes.set(**{f"{along}lim": (low / 1.15, high * 1.15)})
        axis.set_minor_formatter(NullFormatter())


def _heights(setting: Setting) -> Floats:
    """(N,) where the values lie between 0 and 1."""
    at = setting.at
    low, high = (0, len(setting.choices) - 1) if setting.kind == "choice" else setting.limits
    if setting.kind == "loguniform":
        at, low, high = np.log(at), np.log(low), np.log(high)
    heights: Floats = (at - low) / max(high - low, 1e-12)
    return heights


def _key(figure: "Figure", *, has_below: bool) -> None:
    from matplotlib.lines import Line2D

    kinds = [("best", BLUE, "*", 11), ("finished", ORANGE, "o", 6), ("stopped", GREY, "o", 6)]
    if has_below:
        kinds.append(("below the axis", INK, "v", 6))
    handles = [
        Line2D([], [], color=colour, marker=mark, markersize=size, linestyle="", label=name)
        for name, colour, mark, size in kinds
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)

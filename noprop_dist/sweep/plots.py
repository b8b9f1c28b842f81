"""Pictures of a sweep, as matplotlib figures that share no global state."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from noprop_dist.record.plots import (
    BLUE,
    GREY,
    GRID,
    INK,
    ORANGE,
    VERMILION,
    frame,
    new_figure,
)
from noprop_dist.sweep.block_trial import BLOCK_METRIC
from noprop_dist.sweep.network_trial import METRIC
from noprop_dist.sweep.space import BLOCK, Dimension, Space

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
COLUMNS = 4
FLOOR = 0.25  # share of the trials that may lie below what a picture shows; they are drawn at it


def plot_curves(curves: Mapping[int, Sequence[float | None]], rows: Sequence[Row]) -> "Figure":
    """Validation accuracy by epoch, a line per trial; where one was stopped is marked.

    Args:
        curves: by trial, a fraction per epoch.
        rows: of the table, best first.
    """
    figure = new_figure(9, 5)
    axes = figure.subplots()
    status = {row["trial"]: row["status"] for row in rows}
    best = rows[0]["trial"]
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
        figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def plot_settings(rows: Sequence[Row], space: Space) -> "Figure":
    """Each searched setting against the accuracy reached.

    Args:
        rows: trials that were trained, best first.
        space: what varied.
    """
    columns = min(COLUMNS, len(space))
    lines = -(-len(space) // columns)
    figure = new_figure(3.1 * columns, 2.9 * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for panel in panels[len(space) :]:
        panel.axis("off")
    y = 100 * np.array([row[METRIC] for row in rows])
    low = _floor(y)
    shown = np.maximum(y, low)
    for panel, (name, dimension) in zip(panels, space.items(), strict=False):
        x = _positions(panel, "x", dimension, [row.get(name) for row in rows])
        for kind in ("stopped", "finished"):
            here = np.array([row["status"] == kind for row in rows])
            below = here & (y < low)
            panel.scatter(x[here & ~below], shown[here & ~below], s=26, color=COLOURS[kind])
            panel.scatter(x[below], shown[below], s=30, color=COLOURS[kind], marker="v")
        panel.scatter(x[:1], shown[:1], s=110, color=BLUE, marker="*", zorder=3)
        frame(panel, name, "")
        panel.set_ylim(low - 0.04 * (100 - low), 100 + 0.06 * (100 - low))
    for line in range(lines):
        panels[line * columns].set_ylabel("validation accuracy (%)", color=INK)
    _key(figure, has_below=bool((y < low).any()))
    return figure


def plot_parallel(rows: Sequence[Row], space: Space) -> "Figure":
    """Parallel coordinates: a line per trial through its settings, coloured by what it reached.

    Args:
        rows: trials that were trained, best first.
        space: what varied.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    accuracy = 100 * np.array([row[METRIC] for row in rows])
    norm = Normalize(_floor(accuracy), max(accuracy.max(), _floor(accuracy) + 1e-6))
    colours = ScalarMappable(norm, "viridis")
    figure = new_figure(max(8.0, 1.6 * len(space) + 2.5), 4.6)
    axes = figure.subplots()
    heights = []
    for place, (name, dimension) in enumerate(space.items()):
        height, ticks = _heights(dimension, [row.get(name) for row in rows])
        heights.append(height)
        axes.axvline(place, color=GRID, linewidth=1.4, zorder=0)
        for y, label in ticks:
            axes.annotate(
                label, (place, y), xytext=(4, 0), textcoords="offset points", fontsize=8,
                color=INK, va="center", zorder=5,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1},
            )  # fmt: skip
    paths = np.array(heights).T
    for i in range(len(rows) - 1, -1, -1):  # the best last, on top
        width = 3.2 if i == 0 else 1.2
        axes.plot(paths[i], color=colours.to_rgba(accuracy[i]), linewidth=width, alpha=0.9)
    axes.set(xlim=(-0.2, len(space) - 0.35), ylim=(-0.08, 1.08), yticks=[])
    axes.set_xticks(range(len(space)), list(space), fontsize=9, color=INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(colours, ax=axes, shrink=0.85, pad=0.02, extend="min")
    bar.set_label("validation accuracy (%)", color=INK)
    bar.outline.set_visible(False)
    return figure


def plot_blocks(rows: Sequence[Row], space: Space) -> "Figure":
    """Of every block, the settings tried: the darker, the nearer to its smallest loss.

    Args:
        rows: trials of single blocks that were trained, best first within a block.
        space: what varied.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    least: dict[int, float] = {}
    for row in rows:
        least.setdefault(row[BLOCK], row[BLOCK_METRIC])
    excess = np.array([row[BLOCK_METRIC] / max(least[row[BLOCK]], 1e-12) for row in rows])
    colours = ScalarMappable(LogNorm(1, max(1.05, min(float(excess.max()), 2.0))), "Blues_r")
    columns = min(2, len(space))
    lines = -(-len(space) // columns)
    figure = new_figure(5.2 * columns, 3.2 * lines)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel in panels[len(space) :]:
        panel.axis("off")
    x = np.array([row[BLOCK] for row in rows])
    best = np.array([row[BLOCK_METRIC] == least[row[BLOCK]] for row in rows])
    for panel, (name, dimension) in zip(panels, space.items(), strict=False):
        y = _positions(panel, "y", dimension, [row.get(name) for row in rows])
        panel.scatter(x, y, c=colours.to_rgba(excess), s=34, edgecolors=GRID, linewidths=0.5)
        panel.scatter(x[best], y[best], s=120, color=ORANGE, marker="*", edgecolors=INK, zorder=3)
        frame(panel, name, "block t")
        panel.set_xticks(sorted(least))
    bar = figure.colorbar(colours, ax=list(panels), shrink=0.7, extend="max")
    bar.set_label("validation loss over the block's smallest", color=INK)
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.yaxis.set_minor_formatter("{x:g}")
    bar.outline.set_visible(False)
    return figure


COLOURS = {"finished": ORANGE, "stopped": GREY, "failed": VERMILION, "unfinished": GREY}


def _floor(percent: npt.NDArray[np.float64]) -> float:
    """Where the axis begins: bad trials must not press the good ones together."""
    if not len(percent):
        return 0.0
    low = float(np.quantile(percent, FLOOR))
    return max(0.0, float(np.floor(low - 0.15 * (100 - low))))


def _names(dimension: Dimension, values: Sequence[Any]) -> list[str]:
    """The choices, with the one of trials in which the option had no meaning."""
    names = [str(v) for v in dimension.values]
    return names + sorted({str(v) for v in values} - set(names))


def _positions(
    axes: "Axes", along: Literal["x", "y"], dimension: Dimension, values: Sequence[Any]
) -> npt.NDArray[np.float64]:
    """Where the values lie on the x- or y-axis, which gets its scale and ticks."""
    from matplotlib.ticker import NullFormatter

    axis = axes.xaxis if along == "x" else axes.yaxis
    if dimension.kind == "choice":
        names = _names(dimension, values)
        axis.set_ticks(range(len(names)), [_short(n) for n in names])
        axes.set(**{f"{along}lim": (-0.6, len(names) - 0.4)})
        return np.array([names.index(str(v)) for v in values], dtype=float)
    if dimension.kind == "loguniform":
        low, high = dimension.values
        axes.set(**{f"{along}scale": "log"})
        axes.set(**{f"{along}lim": (low / 1.15, high * 1.15)})
        axis.set_minor_formatter(NullFormatter())
    return np.array(values, dtype=float)


def _heights(
    dimension: Dimension, values: Sequence[Any]
) -> tuple[npt.NDArray[np.float64], list[tuple[float, str]]]:
    """Where the values lie between 0 and 1, and what is written where."""
    if dimension.kind == "choice":
        names = _names(dimension, values)
        step = 1 / max(1, len(names) - 1)
        at = np.array([names.index(str(v)) for v in values], dtype=float) * step
        return at, [(i * step, _short(n)) for i, n in enumerate(names)]
    low, high = dimension.values
    scaled = np.array(values, dtype=float)
    ends = np.array([low, high], dtype=float)
    if dimension.kind == "loguniform":
        scaled, ends = np.log(scaled), np.log(ends)
    at = (scaled - ends[0]) / (ends[1] - ends[0])
    return at, [(0.0, f"{low:g}"), (1.0, f"{high:g}")]


def _short(name: str) -> str:
    return {"None": "-"}.get(name, name if len(name) <= 10 else name[:9] + "..")


def _key(figure: "Figure", *, has_below: bool) -> None:
    from matplotlib.lines import Line2D

    kinds = [("best", BLUE, "*", 11), ("finished", ORANGE, "o", 6), ("stopped", GREY, "o", 6)]
    if has_below:
        kinds.append(("below the axis", INK, "v", 6))
    handles = [
        Line2D([], [], color=colour, marker=mark, markersize=size, linestyle="", label=name)
        for name, colour, mark, size in kinds
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)

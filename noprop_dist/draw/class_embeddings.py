"""Pictures of the class embeddings. K classes, D embedding width."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from noprop_dist.draw.axes import (
    MAX_NAMES,
    colour_bar,
    draw_tiles,
    frame,
    label_points,
    name_ticks,
    row_room,
    short,
    write_cells,
)
from noprop_dist.draw.plane import Floats, widest_plane
from noprop_dist.draw.style import BLUE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_FOR_TSNE = 4  # classes: three points have but one arrangement
FULL_TSNE = 500  # classes up to which distances are summed in full
CELLS_WITH_NUMBERS = 12  # classes
LEAST_SPAN = 0.99  # of the largest distance: below it the colours begin, so as to show no rounding
EQUALLY = 1.05  # times the smallest distance: below it all are about the same
ACROSS = 10  # prototypes beside each other, where each has its name


def plot_embedding(u: Floats, flat: Floats | None, class_names: Sequence[str]) -> "Figure":
    """Distances between the class embeddings, and the embeddings seen in two ways.

    Args:
        u: (K, D), the class embeddings.
        flat: (K, 2), what ``tsne`` gives of them, if anything.
        class_names: K names.
    """
    plane = widest_plane(u)
    of = "principal components"
    if plane.alike > 2:
        of = f"two of {plane.alike} directions about as wide"
    maps = [(f"{of}: {100 * plane.share:.0f} % of the variance", plane.project(u))]
    maps += [] if flat is None else [("t-SNE", flat)]
    wide = 5.6 + row_room(class_names)
    figure = new_figure(wide + 5.1 * len(maps), 5.2)
    widths = [wide] + [5.1] * len(maps)
    matrix, *panels = figure.subplots(1, len(widths), width_ratios=widths)
    _distances(matrix, u, class_names)
    few = len(u) <= MAX_NAMES
    for axes, (title, xy) in zip(panels, maps, strict=True):
        frame(axes, title, "")
        axes.tick_params(labelbottom=False, labelleft=False, length=0)
        axes.spines[:].set_visible(False)
        axes.scatter(*xy.T, s=34 if few else 14, color=BLUE, zorder=3)
        middle, reach = (xy.max(axis=0) + xy.min(axis=0)) / 2, 0.62 * np.ptp(xy, axis=0).max()
        low, high = middle - max(reach, 1e-9), middle + max(reach, 1e-9)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    for axes, (_, xy) in zip(panels, maps, strict=True):
        names = [short(name, 14 if few else 11) for name in class_names]
        label_points(axes, xy, names, 8.5 if few else 6)
    return figure


def equally_far(u: Floats) -> str:
    """That classes are about equally far apart, and how far; empty where some are nearer.

    Args:
        u: (K, D), the class embeddings.
    """
    from scipy.spatial.distance import pdist

    apart = pdist(u)
    low, high = float(apart.min()), float(apart.max())
    told = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
    return f"all classes are about equally far apart, {told}" if high <= EQUALLY * low else ""


def tsne(u: Floats) -> Floats | None:
    """(K, 2) by t-SNE, the same each time; None of fewer than LEAST_FOR_TSNE classes.

    The perplexity, the number of neighbours that count, is a third of the others, at most 30.
    """
    from sklearn.manifold import TSNE

    if len(u) < LEAST_FOR_TSNE:
        return None
    method = "exact" if len(u) <= FULL_TSNE else "barnes_hut"
    found: Floats = TSNE(
        perplexity=min(30.0, (len(u) - 1) / 3), init="random", random_state=0, method=method
    ).fit_transform(u.astype(np.float32))
    return found.astype(np.float64)


def _distances(axes: "Axes", u: Floats, class_names: Sequence[str]) -> None:
    from sklearn.metrics.pairwise import euclidean_distances

    apart = euclidean_distances(u)
    np.fill_diagonal(apart, np.nan)  # blank: 0 would take most of the colours
    high = float(np.nanmax(apart))
    low = min(float(np.nanmin(apart)), LEAST_SPAN * high)
    image = axes.imshow(apart, cmap="viridis", vmin=low, vmax=high)
    if len(u) <= CELLS_WITH_NUMBERS:
        digits = min(2, max(0, 2 - math.floor(math.log10(max(high, 1e-9)))))
        pairs = (pair for pair in np.ndindex(apart.shape) if pair[0] != pair[1])
        write_cells(image, {(i, j): f"{apart[i, j]:.{digits}f}" for i, j in pairs})
    name_ticks(axes, class_names)
    axes.set_title("distance between class embeddings")
    colour_bar(image, axes, "distance", shrink=0.8)


def plot_prototypes(
    first: Floats | None, now: Floats, shape: tuple[int, ...], class_names: Sequence[str]
) -> "Figure":
    """The embeddings that began as images, as images: before training, now, and what changed.

    Args:
        first: (K, D) before training, on the 0..1 scale of pixels; None where it is not known.
        now: (K, D) of the network, on the same scale.
        shape: (C, H, W) with C * H * W = D.
        class_names: K names.
    """
    from matplotlib.ticker import PercentFormatter

    states = {"now": now} if first is None else {"before training": first, "now": now}
    # What training pushed out of the range of pixels is still told apart, the odd pixel apart.
    low, high = np.percentile(np.concatenate(list(states.values())), [0.2, 99.8])
    sheets = [
        (title, np.clip((u.reshape(-1, *shape) - low) / max(high - low, 1e-9), 0, 1))
        for title, u in states.items()
    ]
    most = 0.0
    if first is not None:
        change = change_of(first, now, shape)
        most = largest(change)
        sheets.append((f"change, at most {100 * most:.2g} %", change))
    named = len(now) <= MAX_NAMES
    columns = min(len(now), ACROSS) if named else math.ceil(math.sqrt(len(now)))
    if named:  # sheets below one another, so that a class is compared with itself
        rows = -(-len(now) // columns)
        figure = new_figure(1.3 + columns, len(sheets) * (0.3 + 1.15 * rows))
        panels = figure.subplots(len(sheets), 1, squeeze=False)[:, 0]
    else:
        figure = new_figure(5.2 * len(sheets), 5.4)
        panels = figure.subplots(1, len(sheets), squeeze=False)[0]
    names = [short(name) for name in class_names] if named else []
    for axes, (title, images) in zip(panels, sheets, strict=True):
        axes.set_title(title)
        scale: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
        if title.startswith("change"):
            scale = {"cmap": "PuOr", "vmin": -most, "vmax": most}
        tile = draw_tiles(axes, images, columns, names, scale)
    if first is not None:
        bar = colour_bar(tile, panels[-1], "of the range of pixels", shrink=0.9).ax
        bar.yaxis.set_major_formatter(PercentFormatter(1))
        bar.tick_params(labelsize=7)
        bar.yaxis.label.set_fontsize(7)
    return figure


def change_of(first: Floats, now: Floats, shape: tuple[int, ...]) -> Floats:
    """(K, 1, H, W), from ``first`` to ``now``, the mean over the channels of ``shape``."""
    change: Floats = (now - first).reshape(-1, *shape).mean(axis=1, keepdims=True)
    return change


def largest(change: Floats) -> float:
    """The end of the colours of a change, on the scale of pixels."""
    return max(float(np.abs(change).max()), 1e-9)

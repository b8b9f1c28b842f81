"""Pictures of the class embeddings. K classes, D embedding width."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from noprop_dist.draw.labels import label_points
from noprop_dist.draw.matrix import write_cells
from noprop_dist.draw.plane import Floats, widest_plane
from noprop_dist.draw.style import (
    BLUE,
    GREY,
    INK,
    MAX_NAMES,
    frame,
    head,
    name_ticks,
    new_figure,
    row_room,
    short,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_FOR_TSNE = 4  # classes: three points have but one arrangement
FULL_TSNE = 500  # classes up to which distances are summed in full
CELLS_WITH_NUMBERS = 12  # classes
LEAST_SPAN = 0.99  # of the largest distance: below it the colours begin, so as to show no rounding
ACROSS = 10  # images beside each other


def plot_embedding(u: Floats, class_names: Sequence[str]) -> "Figure":
    """Distances between the class embeddings, and the embeddings seen in two ways.

    Args:
        u: (K, D), the class embeddings.
        class_names: K names.
    """
    maps = 1 + (len(u) >= LEAST_FOR_TSNE)
    wide = 5.6 + row_room(class_names)
    figure = new_figure(wide + 5.1 * maps, 5.2)
    matrix, *panels = figure.subplots(1, 1 + maps, width_ratios=[wide] + [5.1] * maps)
    _distances(matrix, u, class_names)
    plane = widest_plane(u)
    points = [plane.project(u)]
    of = "principal components"
    if plane.alike > 2:
        of = f"two of {plane.alike} directions about as wide"
    titles = [f"{of}: {100 * plane.share:.0f} % of the variance"]
    if maps == 2:
        points.append(tsne(u))
        titles.append("t-SNE")
    for axes, xy, title in zip(panels, points, titles, strict=True):
        frame(axes, title, "")
        axes.tick_params(labelbottom=False, labelleft=False, length=0)
        axes.spines[:].set_visible(False)
        x, y = xy.T
        axes.scatter(x, y, s=34 if len(u) <= MAX_NAMES else 14, color=BLUE, zorder=3)
        middle, reach = (xy.max(axis=0) + xy.min(axis=0)) / 2, 0.62 * np.ptp(xy, axis=0).max()
        low, high = middle - max(reach, 1e-9), middle + max(reach, 1e-9)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    for axes, xy in zip(panels, points, strict=True):
        few = len(u) <= MAX_NAMES
        names = [short(name, 14 if few else 11) for name in class_names]
        label_points(axes, xy, names, 8.5 if few else 6)
    return figure


def tsne(u: Floats) -> Floats:
    """(K, 2) by t-SNE, the same each time; needs LEAST_FOR_TSNE classes.

    The perplexity, the number of neighbours that count, is a third of the others, at most 30.
    """
    from sklearn.manifold import TSNE

    method = "exact" if len(u) <= FULL_TSNE else "barnes_hut"
    found: Floats = TSNE(
        perplexity=min(30.0, (len(u) - 1) / 3), init="random", random_state=0, method=method
    ).fit_transform(u.astype(np.float32))
    return found.astype(np.float64)


def _distances(axes: "Axes", u: Floats, class_names: Sequence[str]) -> None:
    squares = (u**2).sum(axis=1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * u @ u.T, 0))
    np.fill_diagonal(apart, np.nan)  # blank: 0 would take most of the colours
    high = float(np.nanmax(apart))
    low = min(float(np.nanmin(apart)), LEAST_SPAN * high)
    image = axes.imshow(apart, cmap="viridis", vmin=low, vmax=high, interpolation="none")
    if len(u) <= CELLS_WITH_NUMBERS:
        digits = min(2, max(0, 2 - math.floor(math.log10(max(high, 1e-9)))))
        pairs = (pair for pair in np.ndindex(apart.shape) if pair[0] != pair[1])
        write_cells(image, {(i, j): f"{apart[i, j]:.{digits}f}" for i, j in pairs})
    name_ticks(axes, class_names)
    head(axes, "distance between class embeddings")
    colours: Any = axes.figure.colorbar(image, ax=axes, shrink=0.8)
    colours.set_label("distance", color=INK)
    colours.outline.set_visible(False)


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
    sheets = [("now", now)] if first is None else [("before training", first), ("now", now)]
    images = [(title, u.reshape(-1, *shape)) for title, u in sheets]
    values = np.concatenate([u.ravel() for _, u in sheets])
    # What training pushed out of the range of pixels is still told apart, the odd pixel apart.
    low, high = np.percentile(values, [0.2, 99.8])
    scaled = [(title, np.clip((x - low) / max(high - low, 1e-9), 0, 1)) for title, x in images]
    change = None if first is None else change_of(first, now, shape)
    if len(now) > MAX_NAMES:
        return _sheets(scaled, change)
    return _rows(scaled, change, class_names)


def change_of(first: Floats, now: Floats, shape: tuple[int, ...]) -> Floats:
    """(K, 1, H, W), from ``first`` to ``now``, the mean over the channels of ``shape``."""
    change: Floats = (now - first).reshape(-1, *shape).mean(axis=1, keepdims=True)
    return change


def largest(change: Floats) -> float:
    """The end of the colours of a change, on the scale of pixels."""
    return max(float(np.abs(change).max()), 1e-9)


def _change_title(change: Floats) -> str:
    return f"change\nat most {100 * largest(change):.2g} %"


def _rows(
    images: list[tuple[str, Floats]], change: Floats | None, class_names: Sequence[str]
) -> "Figure":
    """A column per class and a row per state, in bands of at most ACROSS classes."""
    count = len(class_names)
    states = len(images) + (change is not None)
    bands, columns = -(-count // ACROSS), min(count, ACROSS)
    figure = new_figure(1.4 + 1.05 * columns, bands * (0.4 + 1.1 * states))
    grid = figure.add_gridspec(bands * states, columns + 1, width_ratios=[8] * columns + [1])
    most = 1e-9 if change is None else largest(change)
    for k, row in np.ndindex(count, states):
        line, column = (k // ACROSS) * states + row, k % ACROSS
        cell = figure.add_subplot(grid[line, column])
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set(color=GREY, linewidth=0.5)
        if row < len(images):
            title, sheet = images[row]
            image = channels_last(sheet[k])
            cell.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="none")
        elif change is not None:
            title, image = _change_title(change), change[k, 0]
            drawn = cell.imshow(image, cmap="PuOr", vmin=-most, vmax=most, interpolation="none")
        if row == 0:
            cell.set_title(short(class_names[k]), fontsize=9, color=INK)
        if column == 0:
            cell.set_ylabel(title, color=INK, fontsize=9)
    if change is not None:
        bar = figure.colorbar(drawn, cax=figure.add_subplot(grid[-1, -1]))
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7)
    return figure


def _sheets(images: list[tuple[str, Floats]], change: Floats | None) -> "Figure":
    """A sheet per state, classes in rows: names would not fit."""
    count = len(images) + (change is not None)
    figure = new_figure(5.2 * count, 5.4)
    panels = figure.subplots(1, count, squeeze=False)[0]
    for axes, (title, sheet) in zip(panels, images, strict=False):
        axes.imshow(mosaic(sheet, 1.0), cmap="gray", vmin=0, vmax=1, interpolation="none")
        head(axes, title)
    if change is not None:
        most = largest(change)
        drawn = panels[-1].imshow(
            mosaic(change, 0.0), cmap="PuOr", vmin=-most, vmax=most, interpolation="none"
        )
        head(panels[-1], _change_title(change).replace("\n", ", "))
        bar = figure.colorbar(drawn, ax=panels[-1], shrink=0.7)
        bar.outline.set_visible(False)
    for axes in panels:
        axes.axis("off")
    return figure


def mosaic(images: Floats, gap: float) -> Floats:
    """(K, C, H, W) as one image, row by row, with lines of ``gap`` between them."""
    columns = int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    _, channels, height, width = images.shape
    sheet = np.full((channels, rows * (height + 1) - 1, columns * (width + 1) - 1), gap)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        sheet[:, top : top + height, left : left + width] = image
    return channels_last(sheet)


def channels_last(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(C, H, W) as matplotlib takes it: (H, W) of one channel, else (H, W, C)."""
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)

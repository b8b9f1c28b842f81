"""The picture of z on its way from noise to a label. K classes, T blocks, D width, N samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from noprop_dist.draw.axes import bare, label_points, short
from noprop_dist.draw.plane import Floats, widest_plane
from noprop_dist.draw.style import GREY, GROUND, INK, OF_CLASSES, PAPER, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = "os^Dv<*>ph"  # of a class, besides its colour; none is like the cross of a class embedding
PER_CLASS = 15  # samples whose z_t are shown as points
FOLLOWED = 10  # of them, at least one of a class, whose path is drawn

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Walks:
    """Where z was on its way, for samples of some classes.

    Attributes:
        z: float64 (T + 1, N, D), z_0 first.
        label: int64 (N,), true classes, in order.
        answer: int64 (N,), of the readout of z_T.
    """

    z: Floats
    label: Rows
    answer: Rows


def shown_classes(num_classes: int) -> Rows:
    """All classes or, where they are more than there are colours, so many spread over all."""
    most = min(num_classes, len(OF_CLASSES))
    return np.unique(np.linspace(0, num_classes - 1, most).round().astype(np.int64))


def plot_trajectories(walks: Walks, u: Floats, class_names: Sequence[str]) -> "Figure":
    """The paths of some samples in the plane of the class embeddings, and all of them by step.

    Args:
        walks: what to draw.
        u: (K, D), the class embeddings.
        class_names: K names.
    """
    plane = widest_plane(u)
    centres, steps = plane.project(u), plane.project(walks.z)
    last, classes = len(steps) - 1, np.unique(walks.label)
    shown = np.unique(np.linspace(0, last, 6).round().astype(int))
    figure = new_figure(14, 6.3)
    left, *small = _panels(figure, len(shown))
    _draw_paths(left, walks, nearer(steps), nearer(centres))
    left.set_anchor("N")
    left.set(
        title=f"z_0 to z_{last} of single images (distances as square roots)",
        xlabel="open circle: z_0     large mark: class embedding     ringed: wrong answer",
    )
    small[-1].set_xlabel("+  class embedding")
    for axes, t in zip(small, shown, strict=True):
        x, y = centres[classes].T
        axes.scatter(x, y, s=50, marker="+", color=INK, linewidth=1, zorder=1)
        for k in classes:
            x, y = steps[t, walks.label == k].T
            axes.scatter(x, y, s=16, edgecolor=PAPER, linewidth=0.3, **_look(int(k), len(u)))
        axes.set_title(f"z_{t}" + (": noise" if t == 0 else ""))
        _square(axes, np.concatenate([steps[t], centres]))
    _square(left, nearer(np.concatenate([steps[:, _followed(walks)].reshape(-1, 2), centres])))
    names = [short(class_names[k]) for k in classes]
    label_points(left, nearer(centres[classes]), names, 10, radius=8, bold=True)
    return figure


def nearer(points: Floats) -> Floats:
    """Points (..., 2) at the square root of their distance from the middle, which makes room there.

    The noise that a path begins in is much wider than the class embeddings lie apart.
    """
    distance = np.linalg.norm(points, axis=-1, keepdims=True)
    near: Floats = points / np.sqrt(np.maximum(distance, 1e-12))
    return near


def _panels(figure: "Figure", count: int) -> "list[Axes]":
    """A large square on the left, and small ones in two rows beside it."""
    columns = -(-count // 2)
    grid = figure.add_gridspec(2, 2 + columns)
    large = figure.add_subplot(grid[:, :2])
    return [large] + [figure.add_subplot(grid[i // columns, 2 + i % columns]) for i in range(count)]


def _draw_paths(axes: "Axes", walks: Walks, steps: Floats, centres: Floats) -> None:
    """Paths that grow from faint to strong, so that where they lead stands out."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    classes = np.unique(walks.label)
    followed = _followed(walks)
    for i in followed:
        look = _look(int(walks.label[i]), len(centres))
        path, rgb = steps[:, i], to_rgb(look["color"])
        shades = [(*rgb, alpha) for alpha in np.linspace(0.25, 1, len(path))]
        lines = np.stack([path[:-1], path[1:]], axis=1)
        axes.add_collection(LineCollection(list(lines), colors=shades[1:], linewidths=1.5))
        x, y = path.T
        axes.scatter(x[1:-1], y[1:-1], s=14, c=shades[1:-1], linewidth=0)
        axes.scatter(x[:1], y[:1], s=34, facecolor=PAPER, edgecolor=shades[1], linewidth=1.3)
        axes.scatter(x[-1:], y[-1:], s=46, zorder=4, edgecolor=PAPER, linewidth=0.8, **look)
    wrong = followed[walks.answer[followed] != walks.label[followed]]
    x, y = steps[-1, wrong].T
    axes.scatter(x, y, s=190, facecolor="none", edgecolor=INK, linewidth=1.4, zorder=4)
    x, y = centres[np.setdiff1d(np.arange(len(centres)), classes)].T
    axes.scatter(x, y, s=12, color=GREY, zorder=3)
    for k in classes:
        x, y = centres[[k]].T
        look = _look(int(k), len(centres))
        axes.scatter(x, y, s=150, edgecolor=INK, linewidth=1.4, zorder=3, **look)


def _followed(walks: Walks) -> Rows:
    """As many samples of every class, in order."""
    classes = np.unique(walks.label)
    each = max(1, FOLLOWED // len(classes))
    return np.concatenate([np.flatnonzero(walks.label == k)[:each] for k in classes])


def _look(k: int, num_classes: int) -> dict[str, Any]:
    place = int(np.searchsorted(shown_classes(num_classes), k))
    return {"color": OF_CLASSES[place], "marker": MARKS[place]}


def _square(axes: "Axes", points: Floats) -> None:
    """A square around the middle that holds the points; what counts is how they lie."""
    reach = 1.08 * float(np.abs(points).max())
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", facecolor=GROUND)
    bare(axes)

"""The picture of z on its way from noise to a label. K classes, T blocks, D width, N samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from noprop_dist.draw.axes import bare, counted, short
from noprop_dist.draw.plane import Floats, widest_plane
from noprop_dist.draw.style import COLOUR_OF, GREY, GROUND, INK, OF_CLASSES, PAPER, new_figure
from noprop_dist.text import how_many

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = "os^Dv<X>ph"  # of a class, besides its colour; none is a class embedding's thin cross
PER_CLASS = 15  # samples whose z_t are shown as points
FOLLOWED = 5  # of those that are answered wrongly, whose way is drawn

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
    """How far z_t comes towards the class embeddings, and where it lies in a plane of them.

    Args:
        walks: what to draw.
        u: (K, D), the class embeddings.
        class_names: K names.
    """
    plane = widest_plane(u)
    centres, steps = plane.project(u), plane.project(walks.z)
    classes = np.unique(walks.label)
    shown = np.unique(np.linspace(0, len(steps) - 1, 6).round().astype(int))
    figure = new_figure(14, 6.3)
    columns = -(-len(shown) // 2)
    halves: Any = figure.subfigures(1, 2, width_ratios=(2, columns))
    _draw_towards(halves[0].subplots(), walks, towards(walks, u))
    for place, (t, axes) in enumerate(zip_longest(shown, halves[1].subplots(2, columns).ravel())):
        if t is None:
            axes.axis("off")
            continue
        x, y = centres[classes].T
        axes.scatter(x, y, s=70, marker="+", color=INK, linewidth=1.2, zorder=1)
        for k in classes:
            x, y = steps[t, walks.label == k].T
            label = short(class_names[k]) if not place else None
            look = _look(int(k), len(u))
            axes.scatter(x, y, s=22, edgecolor=PAPER, linewidth=0.3, label=label, **look)
        axes.set_title(f"z_{t}" + (": noise" if t == 0 else ""))
        reach = 1.08 * float(np.abs(np.concatenate([steps[t], centres])).max())
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", facecolor=GROUND)
        bare(axes)
    halves[1].legend(
        loc="outside lower left", ncols=min(5, 2 * columns), title="true class;  + its embedding",
        alignment="left", title_fontsize=9,
    )  # fmt: skip
    return figure


def towards(walks: Walks, u: Floats) -> Floats:
    """(T + 1, N, K): how far z lies from the middle of the embeddings u (K, D) towards each class.

    The unit is how far the true class's own embedding lies, which is so at 1.
    """
    ways = u - u.mean(axis=0)
    far = np.maximum(np.linalg.norm(ways, axis=1), 1e-12)
    found: Floats = (walks.z - u.mean(axis=0)) @ (ways.T / far) / far[walks.label][:, None]
    return found


def _draw_towards(axes: "Axes", walks: Walks, near: Floats) -> None:
    """Of the true class and of the other one most pointed to, of images, and of wrong answers."""
    rows = np.arange(len(walks.label))
    true = near[:, rows, walks.label]
    others = near.copy()
    others[:, rows, walks.label] = -np.inf
    t = np.arange(len(near))
    for values, colour, told in (
        (others.max(axis=2), GREY, "the other class that it lies most towards"),
        (true, COLOUR_OF["z_T"], "the true class: median, half and 90 % of images"),
    ):
        for low, high in ((5, 95), (25, 75)):
            ends = np.percentile(values, (low, high), axis=1)
            axes.fill_between(t, *ends, color=colour, alpha=0.22, linewidth=0)
        axes.plot(t, np.median(values, axis=1), color=colour, linewidth=2.4, label=told)
    wrong = np.flatnonzero(walks.answer != walks.label)
    wrong = wrong[:: max(1, len(wrong) // FOLLOWED)][:FOLLOWED]  # spread over the classes
    for place, i in enumerate(wrong):
        told = "_" if place else f"the true class, {how_many(len(wrong), 'wrong answer')}"
        axes.plot(t, true[:, i], color=COLOUR_OF["mistake"], linewidth=1, label=told)
    counted(axes, "how far z_t lies towards a class: 1 is the true embedding", "step t", first=0)


def _look(k: int, num_classes: int) -> dict[str, Any]:
    place = int(np.searchsorted(shown_classes(num_classes), k))
    return {"color": OF_CLASSES[place], "marker": MARKS[place]}

"""The picture of an ablation: each block's accuracy by what it is given as z, and differences."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from noprop_dist.draw.axes import counted, frame, line, percent
from noprop_dist.draw.style import BLUE, GREEN, GREY, INK, ORANGE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (BLUE, GREY, ORANGE, GREEN)


def plot_ablation(
    by_given: Mapping[str, Sequence[float]], differences: Mapping[str, tuple[float, float]]
) -> "Figure":
    """Accuracy by block on the left, differences with 95 % intervals on the right.

    Args:
        by_given: by what is given as z, at most four, accuracies of the T blocks as fractions.
        differences: by name, from top to bottom: points against the mean of the chain's softmaxes,
            and the half width of the interval.
    """
    figure = new_figure(13, 5)
    blocks, beside = figure.subplots(1, 2)
    for (given, accuracy), colour in zip(by_given.items(), COLOURS, strict=False):
        line(blocks, percent(accuracy), colour, given, 2.0)
    counted(blocks, "accuracy (%) of each block's own softmax, by what it is given as z", "block t")
    names = list(differences)
    places = range(len(names), 0, -1)
    means, widths = zip(*differences.values(), strict=True)
    beside.axvline(0, color=INK, linewidth=1)
    beside.errorbar(
        means, list(places), xerr=widths, fmt="o", color=BLUE, capsize=4, linewidth=2, markersize=7
    )
    beside.set_yticks(list(places), names)
    beside.set_ylim(0.4, len(names) + 0.6)
    frame(beside, "points against the mean of softmaxes, with 95 % intervals", "points")
    return figure

"""The picture of an ablation: each block's accuracy by what it is given as z, and differences."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from noprop_dist.draw.axes import counted, frame, line, percent
from noprop_dist.draw.style import COLOUR_OF, INK, MARK_OF, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_ablation(
    by_given: Mapping[str, Sequence[float]],
    differences: Mapping[str, tuple[float, float]],
    kinds: Mapping[str, str],
) -> "Figure":
    """Accuracy by block on the left, differences with 95 % intervals on the right.

    Args:
        by_given: by what is given as z, accuracies of the T blocks as fractions.
        differences: by name, from top to bottom: points against the mean of the chain's softmaxes,
            and the half width of the interval.
        kinds: by name, as what it has its colour, a key of ``COLOUR_OF``; others have none.
    """
    figure = new_figure(13, 5.2)
    blocks, beside = figure.subplots(1, 2)
    colours = {name: COLOUR_OF[kind] for name, kind in kinds.items()}
    for place, (given, accuracy) in enumerate(by_given.items()):
        line(blocks, percent(accuracy), colours[given], given, 5.0 - place)  # all are seen
    counted(blocks, "accuracy (%) of each block's own softmax, by what it is given as z", "block t")
    beside.axvline(0, color=INK, linewidth=1)
    for place, (name, (mean, width)) in enumerate(differences.items()):
        style = {"color": colours.get(name, INK), "capsize": 4, "linewidth": 2, "markersize": 7}
        mark = MARK_OF.get(kinds.get(name, ""), "o")
        beside.errorbar([mean], [place], xerr=[width], fmt=mark, **style)
    beside.set_yticks(range(len(differences)), list(differences))
    beside.set_ylim(len(differences) - 0.4, -0.6)
    frame(beside, "points against the mean of softmaxes, with 95 % intervals", "percentage points")
    return figure

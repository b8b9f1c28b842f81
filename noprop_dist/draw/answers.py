"""Pictures of what a network says of the test split. K classes, N rows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from noprop_dist.draw.axes import (
    MAX_NAMES,
    colour_bar,
    draw_tiles,
    frame,
    legend,
    name_ticks,
    row_room,
    shades,
    short,
    write_cells,
)
from noprop_dist.draw.odds import log_odds, probability_ticks
from noprop_dist.draw.style import BLUE, COLOUR_OF, GREY, GROUND, MISTAKE, new_figure
from noprop_dist.record.predictions import Predictions
from noprop_dist.text import how_many

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS, SECTION_ROWS = 8, 2  # images on the picture of answers, of each of its two kinds
PAIRS = 20  # of classes taken for each other, told where a matrix has no names
BINS = 25  # of confidence
LEAST_CELL = 1.25  # contrast with the paper of a cell that is not empty


def plot_confusion(
    confusion: npt.ArrayLike, class_names: Sequence[str], about: str = ""
) -> "Figure":
    """Which classes are taken for which; of many classes, the pairs most often confused beside it.

    Args:
        confusion: (K, K) counts by true class (row) and answer (column).
        class_names: K names.
        about: what the counts are of, in a few words for the title.
    """
    from matplotlib.colors import PowerNorm

    counts = np.asarray(confusion, dtype=np.int64)
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    many = len(counts) > MAX_NAMES
    side = 6.6 if many else 3.2 + 0.42 * len(counts)
    figure = new_figure(side + (6.4 if many else 1.0) + row_room(class_names), side)
    if many:
        axes, beside = figure.subplots(1, 2, width_ratios=(7.4, 5))
        _pairs(beside, counts, class_names)
    else:
        axes = figure.subplots()
    # A power below one shows rare mistakes beside a full diagonal.
    norm = PowerNorm(0.4, vmin=1e-9, vmax=100)
    colours = shades("Blues", LEAST_CELL).with_extremes(under=GROUND)
    image = axes.imshow(share, colours, norm)
    if not many:
        cells = zip(*np.nonzero(counts), strict=True)
        write_cells(image, {(i, j): f"{counts[i, j]:,}" for i, j in cells})
    name_ticks(axes, class_names)
    right, total = int(counts.diagonal().sum()), int(counts.sum())
    of = f" ({about})" if about else ""
    axes.set(
        title=f"{right:,} of {total:,} right: {100 * right / max(total, 1):.2f} %{of}",
        xlabel="answer",
        ylabel="true class",
    )
    ticks = [0, 1, 5, 20, 50, 100]
    bar = colour_bar(image, axes, "share of the true class (%)", shrink=0.8, ticks=ticks)
    bar.ax.set_yticks(ticks, list(map(str, ticks)))
    return figure


def _pairs(axes: "Axes", counts: npt.NDArray[np.int64], class_names: Sequence[str]) -> None:
    """The pairs most often confused, in one direction or the other."""
    from matplotlib.ticker import MaxNLocator

    wrong = np.triu(counts + counts.T, k=1)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    pairs = [np.unravel_index(i, wrong.shape) for i in order if wrong.flat[i]]
    names = [f"{short(class_names[a], 20)} - {short(class_names[b], 20)}" for a, b in pairs]
    axes.barh(range(len(pairs)), [wrong[pair] for pair in pairs], color=BLUE, height=0.62)
    axes.set_yticks(range(len(pairs)), names, fontsize=8)
    axes.invert_yaxis()
    frame(axes, "most often confused, in both directions", "images")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def telling_rows(predictions: Predictions, count: int) -> tuple[npt.NDArray[np.int64], int]:
    """Places worth looking at: the surest mistakes, then the least sure hits.

    Among answers of one confidence the true classes take turns, so that neither the order of the
    rows nor a large class decides what is seen.

    Args:
        predictions: of N rows.
        count: how many of each, at most.

    Returns:
        Places in ``predictions``, and how many of them, which come first, are mistakes.
    """
    mistakes, hits = np.flatnonzero(~predictions.right), np.flatnonzero(predictions.right)
    surest = mistakes[_in_turns(predictions.at(mistakes), -1)[:count]]
    least = hits[_in_turns(predictions.at(hits), 1)[:count]]
    return np.concatenate([surest, least]), len(surest)


def _in_turns(said: Predictions, sign: int) -> npt.NDArray[np.int64]:
    """Places by confidence times ``sign``; equals by class in turn, and by a number of the row."""
    # Fixed for a row, and nothing to do with the order of the rows
    mixed = np.random.default_rng(0).permutation(said.row.max(initial=0) + 1)[said.row]
    sure = sign * said.confidence
    order = np.lexsort((mixed, said.label, sure))
    first = np.ones(len(order), bool)  # of its class, among equals
    first[1:] = (np.diff(sure[order]) != 0) | (np.diff(said.label[order]) != 0)
    places = np.arange(len(order))
    turn = np.empty_like(places)
    turn[order] = places - np.maximum.accumulate(np.where(first, places, 0))
    return np.lexsort((mixed, turn, sure))


def as_sure(predictions: Predictions, places: npt.NDArray[np.int64]) -> str:
    """A sentence on equals of the last place that are left out, empty where there are none.

    Args:
        predictions: of N rows.
        places: those shown, all mistakes or all hits.
    """
    if not len(places):
        return ""
    last = predictions.confidence[places[-1]]
    alike = predictions.right == predictions.right[places[0]]
    equal = int((alike & (predictions.confidence == last)).sum())
    if equal <= int((predictions.confidence[places] == last).sum()):
        return ""
    kind = "hits" if predictions.right[places[0]] else "mistakes"
    return (
        f" {equal:,} of {int(alike.sum()):,} {kind} are as sure as the last one that is drawn: of "
        "equals, true classes take turns."
    )


def plot_predictions(
    images: npt.NDArray[np.uint8],
    said: Predictions,
    num_mistakes: int,
    class_names: Sequence[str],
) -> "Figure":
    """Images with what the network says of them: surest mistakes above, least sure hits below.

    Args:
        images: uint8 (B, C, H, W), C = 1 or 3, on the 0..255 scale.
        said: the answers to them.
        num_mistakes: how many of them, which come first, are mistakes; the others are hits.
        class_names: K names.
    """
    kinds = (  # title, images, lines of words under each, their colour
        (
            "surest mistakes: answer, its probability, and what it is",
            slice(num_mistakes),
            2,
            MISTAKE,
        ),
        (
            "least sure hits: answer and its probability",
            slice(num_mistakes, None),
            1,
            COLOUR_OF["hit"],
        ),
    )
    sections = [kind for kind in kinds if len(images[kind[1]])]
    heights = [
        0.4 + (1.3 + 0.18 * lines) * -(-len(images[some]) // COLUMNS)
        for _, some, lines, _ in sections
    ]
    figure = new_figure(1.3 * COLUMNS, sum(heights))
    panels = figure.subplots(len(sections), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (title, some, lines, colour) in zip(panels, sections, strict=True):
        axes.set_title(title)
        words = [_words(said, place, class_names) for place in range(len(images))[some]]
        scale = {"cmap": "gray", "vmin": 0, "vmax": 255}
        draw_tiles(axes, images[some], COLUMNS, words, scale, lines=lines, colour=colour)
    return figure


def _words(said: Predictions, place: int, class_names: Sequence[str]) -> str:
    answer, label = (class_names[k[place]] for k in (said.answer, said.label))
    truth = "" if said.right[place] else f"\nis {short(label)}"
    return f"{short(answer, 9)}  {_probability(float(said.confidence[place]))}{truth}"


def _probability(share: float) -> str:
    """In per cent; what rounds to all or nothing is told more closely, as it is neither."""
    told = 100 * share
    if told > 99.9:
        return ">99.9 %"
    return f"{told:.0f} %" if 0.5 <= told < 99.5 else f"{told:.1f} %"


def plot_confidence(predictions: Predictions) -> "Figure":
    """How sure the network is where it is right and where it is wrong, and what that is worth.

    Args:
        predictions: of at least one row.
    """
    figure = new_figure(12.5, 4.8)
    shares, kept = figure.subplots(1, 2)
    sure, right = log_odds(predictions.confidence), predictions.right
    beside = 0.1 if sure.min() == sure.max() else 0.0
    edges = np.linspace(sure.min() - beside, sure.max() + beside, BINS + 1)
    hits, wrong = int(right.sum()), int((~right).sum())
    colour = COLOUR_OF["hit"]
    shares.hist(sure[right], edges, color=colour, alpha=0.85, label=how_many(hits, "hit"))
    mistakes = np.histogram(sure[~right], edges)[0].astype(float)
    mistakes[mistakes == 0] = np.nan  # no line along the axis
    shares.stairs(
        mistakes, edges, color=COLOUR_OF["mistake"], linewidth=2.2, hatch="///",
        label=how_many(wrong, "mistake"),
    )  # fmt: skip
    shares.set_yscale("symlog", linthresh=1)
    shares.yaxis.set_major_formatter("{x:,.0f}")
    probability_ticks(shares, edges[0], edges[-1])
    about = "probability of the answer (%), as logarithm of its odds"
    frame(shares, "images by confidence, on a logarithmic scale", about)
    shares.set_ylim(bottom=0)
    legend(shares)
    answered, accuracy = surest_first(predictions)
    kept.plot(answered, accuracy, color=colour, linewidth=2)
    kept.plot(answered[:1], accuracy[:1], "o", color=colour, clip_on=False)
    kept.axhline(accuracy[-1], color=GREY, linewidth=1.2, ls="--")
    kept.annotate(  # beside the axes, where no curve is
        f"all:\n{accuracy[-1]:.2f} %", (1, accuracy[-1]), xytext=(5, 0), va="center",
        xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=9, color=GREY,
    )  # fmt: skip
    frame(kept, "accuracy (%) if only the surest are answered", "images answered, surest first (%)")
    kept.set_xlim(0, 100)
    reach = max(float(np.ptp(accuracy)), 2.0)
    kept.set_ylim(accuracy.min() - 0.12 * reach, min(accuracy.max() + 0.1 * reach, 100.2))
    return figure


def surest_first(
    predictions: Predictions,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Accuracy by how many are answered, surest first, both in per cent.

    Answers of one confidence are taken together: nothing tells which of them would come first.

    Args:
        predictions: of at least one row.

    Returns:
        A point per confidence, from where more than a per cent is answered: of fewer, each would
        count for more than a per cent.
    """
    order = np.argsort(-predictions.confidence, kind="stable")
    sure = predictions.confidence[order]
    ends = np.flatnonzero(np.append(sure[1:] != sure[:-1], True))
    ends = ends[ends >= len(order) // 100]
    answered = ends + 1
    accuracy = 100 * predictions.right[order].cumsum()[ends] / answered
    return 100 * answered / len(order), accuracy

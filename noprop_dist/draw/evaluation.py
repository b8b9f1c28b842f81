"""The picture of an evaluation: calibration, draws and blocks side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from noprop_dist.draw.axes import counted, frame, legend, line, percent
from noprop_dist.draw.curves import draw_chain
from noprop_dist.draw.odds import log_odds, probability, probability_ticks
from noprop_dist.draw.style import COLOUR_OF, GREY, MARK_OF, new_figure
from noprop_dist.model.answering import MEAN, READOUTS, Z_T

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Answers of a point, whichever is more, in each draw: fewer lie where chance puts them.
ENOUGH, ENOUGH_SHARE = 10, 0.01

Bins = Sequence[dict[str, Any]]


def plot_evaluation(evaluation: dict[str, Any]) -> "Figure":
    """Reliability, the answers behind it, accuracy by draws averaged and by blocks used.

    Args:
        evaluation: what ``evaluate`` returns.
    """
    figure = new_figure(13, 8.4)
    (reliability, draws), (shares, blocks) = figure.subplots(2, 2)
    # The paper's, the plain mean, and what the network answers by where that is another.
    names = list(dict.fromkeys([Z_T, MEAN, evaluation["answering"]["readout"]]))
    for place, name in enumerate(names):
        averaged = percent(evaluation["readouts"][name]["accuracy_of_averaged_draws"])
        width = 4.5 - 1.5 * place  # all are seen
        line(draws, averaged, COLOUR_OF[name], READOUTS[name], width, MARK_OF[name])
    found = {name: evaluation["readouts"][name]["calibration"] for name in names}
    _reliability(reliability, found, len(averaged))
    _shares(shares, {name: calibration["bins"] for name, calibration in found.items()})
    counted(draws, "accuracy (%) of the mean over noise draws", "draws averaged")
    draw_chain(blocks, evaluation["accuracy_after_t"], evaluation["block_accuracy"])
    counted(blocks, "accuracy (%) after t blocks", "blocks used")
    return figure


def _reliability(axes: "Axes", found: dict[str, dict[str, Any]], num_draws: int) -> None:
    """Accuracy of the answers of about one confidence, by readout."""
    drawn = {name: _points(calibration["bins"], num_draws) for name, calibration in found.items()}
    ends = log_odds([x for points in drawn.values() for x, _ in points])
    beside = max(0.06 * float(np.ptp(ends)), 0.1)
    low, high = float(ends.min()) - beside, float(ends.max()) + beside
    calibrated = np.linspace(low, high, 100)
    axes.plot(calibrated, 100 * probability(calibrated), color=GREY, linewidth=1, ls="--")
    for place, (name, points) in enumerate(drawn.items()):
        x, y = np.array(points).T
        error = 100 * found[name]["expected_calibration_error"]
        axes.plot(
            log_odds(x), 100 * y, color=COLOUR_OF[name], marker=MARK_OF[name], ls="",
            markersize=9.5 - 2.5 * place,  # none hides another
            label=f"{READOUTS[name]}, expected calibration error {error:.2f} %",
        )  # fmt: skip
    told = "confidence (%), as logarithm of its odds"
    frame(axes, "accuracy of answers (%); dashed: calibrated", told)
    probability_ticks(axes, low, high)
    legend(axes)


def _points(bins: Bins, num_draws: int) -> list[tuple[float, float]]:
    """Mean confidence and accuracy of neighbouring bins that have enough answers together."""
    there = [b for b in bins if b["count"]]
    enough = max(ENOUGH * num_draws, ENOUGH_SHARE * sum(b["count"] for b in there))
    groups: list[list[dict[str, Any]]] = [[]]
    for b in there:
        if sum(member["count"] for member in groups[-1]) >= enough:
            groups.append([])
        groups[-1].append(b)
    if len(groups) > 1 and sum(member["count"] for member in groups[-1]) < enough:
        groups[-2:] = [groups[-2] + groups[-1]]
    return [(_mean(group, "confidence"), _mean(group, "accuracy")) for group in groups]


def _mean(bins: Bins, what: str) -> float:
    """Over their answers."""
    count = [b["count"] for b in bins]
    return float(np.average([b[what] for b in bins], weights=count))


def _shares(axes: "Axes", found: dict[str, Bins]) -> None:
    """How many answers lie in each bin of confidence, the readouts side by side."""
    for place, (name, bins) in enumerate(found.items()):
        total = sum(b["count"] for b in bins)
        bar = 0.84 * 100 / len(bins) / len(found)
        beside = (place - (len(found) - 1) / 2) * bar
        centres = [50 * (b["low"] + b["high"]) + beside for b in bins]
        heights = [100 * b["count"] / total for b in bins]
        axes.bar(centres, heights, bar, color=COLOUR_OF[name], label=READOUTS[name])
    axes.set_yscale("symlog", linthresh=0.1)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylim(bottom=0)
    low = 100 * min(b["low"] for bins in found.values() for b in bins if b["count"])
    frame(axes, "share of answers (%), by confidence", "confidence (%)")
    axes.set_xlim(low - 0.01 * (100 - low), 100 + 0.02 * (100 - low))
    legend(axes)

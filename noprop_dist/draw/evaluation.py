"""The picture of an evaluation: calibration, draws and blocks side by side."""

from typing import TYPE_CHECKING, Any

from noprop_dist.draw.axes import counted, line, percent
from noprop_dist.draw.style import BLUE, GREEN, GREY, ORANGE, new_figure
from noprop_dist.model.answering import MEAN, READOUTS, Z_T

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, GREEN)


def plot_evaluation(evaluation: dict[str, Any]) -> "Figure":
    """Reliability, the answers behind it, accuracy by draws averaged and by blocks used.

    Args:
        evaluation: what ``evaluate`` returns.
    """
    figure = new_figure(13, 7.5)
    (reliability, draws), (shares, blocks) = figure.subplots(2, 2)
    reliability.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle="--")
    # The paper's, the plain mean, and what the network answers by where that is another.
    names = list(dict.fromkeys([Z_T, MEAN, evaluation["answering"]["readout"]]))
    for place, name in enumerate(names):
        found = evaluation["readouts"][name]
        _calibration(reliability, shares, name, found["calibration"], (place, len(names)))
        averaged = percent(found["accuracy_of_averaged_draws"])
        line(draws, averaged, COLOURS[place], READOUTS[name], 2.0)
    counted(reliability, "accuracy of answers (%); on the dashed line they are calibrated", "")
    reliability.set_xlabel("confidence (%)")
    counted(shares, "share of answers (%), by confidence", "confidence (%)")
    for axes in (reliability, shares):
        axes.set_xlim(0, 100)
    shares.set_yscale("symlog", linthresh=0.1)
    shares.set_ylim(bottom=0)
    counted(draws, "accuracy (%) of the mean over noise draws", "draws averaged")
    line(blocks, percent(evaluation["block_accuracy"]), GREY, "the block's own softmax", 2.0)
    line(blocks, percent(evaluation["accuracy_after_t"]), BLUE, "readout of z_t", 2.0)
    counted(blocks, "accuracy (%) after t blocks", "blocks used")
    return figure


def _calibration(
    reliability: "Axes",
    shares: "Axes",
    name: str,
    calibration: dict[str, Any],
    of: tuple[int, int],
) -> None:
    place, count = of
    bins = calibration["bins"]
    error = 100 * calibration["expected_calibration_error"]
    seen = [b for b in bins if b["count"]]
    reliability.plot(
        [100 * b["confidence"] for b in seen],
        [100 * b["accuracy"] for b in seen],
        color=COLOURS[place],
        marker="o",
        linewidth=2,
        label=f"{READOUTS[name]}, expected calibration error {error:.2f} %",
    )
    total = sum(b["count"] for b in bins)
    width = 100 / len(bins)
    bar = 0.84 * width / count  # side by side
    centres = [50 * (b["low"] + b["high"]) + (place - (count - 1) / 2) * bar for b in bins]
    heights = [100 * b["count"] / total for b in bins]
    shares.bar(centres, heights, bar, color=COLOURS[place], label=READOUTS[name])

"""The picture of an evaluation: calibration, draws and blocks side by side."""

from typing import TYPE_CHECKING, Any

from noprop_dist.draw.axes import counted, line, percent
from noprop_dist.draw.style import BLUE, GREY, ORANGE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"z_T": BLUE, "mean_softmax": ORANGE}
LABELS = {"z_T": "z_T", "mean_softmax": "mean softmax"}


def plot_evaluation(evaluation: dict[str, Any]) -> "Figure":
    """Reliability, the answers behind it, accuracy by draws averaged and by blocks used.

    Args:
        evaluation: what ``evaluate`` returns.
    """
    figure = new_figure(13, 7.5)
    (reliability, draws), (shares, blocks) = figure.subplots(2, 2)
    reliability.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle="--")
    for name, found in evaluation["readouts"].items():
        _calibration(reliability, shares, name, found["calibration"])
        averaged = percent(found["accuracy_of_averaged_draws"])
        line(draws, averaged, COLOURS[name], LABELS[name], 2.0)
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
    reliability: "Axes", shares: "Axes", name: str, calibration: dict[str, Any]
) -> None:
    bins = calibration["bins"]
    error = 100 * calibration["expected_calibration_error"]
    seen = [b for b in bins if b["count"]]
    reliability.plot(
        [100 * b["confidence"] for b in seen],
        [100 * b["accuracy"] for b in seen],
        color=COLOURS[name],
        marker="o",
        linewidth=2,
        label=f"{LABELS[name]}, expected calibration error {error:.2f} %",
    )
    total = sum(b["count"] for b in bins)
    shift = -0.21 if name == "z_T" else 0.21  # two bars side by side
    width = 100 / len(bins)
    centres = [50 * (b["low"] + b["high"]) + shift * width for b in bins]
    heights = [100 * b["count"] / total for b in bins]
    shares.bar(centres, heights, 0.42 * width, color=COLOURS[name], label=LABELS[name])

"""The picture of an evaluation: calibration, draws and blocks side by side."""

from typing import TYPE_CHECKING, Any

from noprop_dist.draw.axes import counted, frame, legend, line, percent
from noprop_dist.draw.curves import draw_chain
from noprop_dist.draw.style import COLOUR_OF, GREY, new_figure
from noprop_dist.model.answering import MEAN, READOUTS, Z_T

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
        found = evaluation["readouts"][name]
        _calibration(reliability, shares, name, found["calibration"], (place, len(names)))
        averaged = percent(found["accuracy_of_averaged_draws"])
        line(draws, averaged, COLOUR_OF[name], READOUTS[name], 4.5 - 1.5 * place)  # all are seen
    shares.set_yscale("symlog", linthresh=0.1)
    shares.yaxis.set_major_formatter("{x:g}")
    shares.set_ylim(bottom=0)
    told = "accuracy of answers (%); dashed: calibrated; large: many"
    bins = [b for name in names for b in evaluation["readouts"][name]["calibration"]["bins"]]
    low = 100 * min(b["low"] for b in bins if b["count"])
    reliability.plot([low, 100], [low, 100], color=GREY, linewidth=1, ls="--")
    for axes, title in ((reliability, told), (shares, "share of answers (%), by confidence")):
        frame(axes, title, "confidence (%)")
        axes.set_xlim(low - 0.01 * (100 - low), 100 + 0.02 * (100 - low))
        legend(axes)
    counted(draws, "accuracy (%) of the mean over noise draws", "draws averaged")
    draw_chain(blocks, evaluation["accuracy_after_t"], evaluation["block_accuracy"])
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
    total = sum(b["count"] for b in bins)
    x, y = ([100 * b[of_bin] for b in seen] for of_bin in ("confidence", "accuracy"))
    told = f"{READOUTS[name]}, expected calibration error {error:.2f} %"
    reliability.plot(x, y, color=COLOUR_OF[name], linewidth=1.2, label=told)
    sizes = [15 + 160 * b["count"] / total for b in seen]
    reliability.scatter(x, y, sizes, color=COLOUR_OF[name], zorder=3)
    width = 100 / len(bins)
    bar = 0.84 * width / count  # side by side
    centres = [50 * (b["low"] + b["high"]) + (place - (count - 1) / 2) * bar for b in bins]
    heights = [100 * b["count"] / total for b in bins]
    shares.bar(centres, heights, bar, color=COLOUR_OF[name], label=READOUTS[name])

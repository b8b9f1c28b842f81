"""Pictures of numbers by epoch and by block."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from noprop_dist.draw.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MAX_NAMES,
    ORANGE,
    line,
    log_scale,
    new_figure,
    percent,
    shade,
    style,
)
from noprop_dist.record.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MOST_POINTS = 5000  # of vector graphics; more become an image in it
SERIES = ("train_accuracy_history", "val_accuracy_history", "val_accuracy_mean_softmax_history")
ACCURACIES = (
    (GREY, "blocks, training (with dropout)"),
    (BLUE, "z_T, validation"),
    (ORANGE, "mean softmax, validation"),
)


def has_numbers(values: Sequence[float]) -> bool:
    """Whether any of them is one."""
    return bool(np.isfinite(values).any()) if values else False


def plot_history(history: History) -> "Figure | None":
    """Loss, accuracy and learning rate by epoch: a panel for each that there is.

    Args:
        history: with NaN for gaps.

    Returns:
        None where there is no number to draw.
    """
    accuracies = [getattr(history, name) for name in SERIES]
    drawn = {
        "loss": has_numbers(history.train_loss_history),
        "accuracy": any(map(has_numbers, accuracies)),
        "rate": has_numbers(history.lr_history),
    }
    wide = [4 if name == "rate" else 5 for name, there in drawn.items() if there]
    if not wide:
        return None
    figure = new_figure(max(6.0, 0.93 * sum(wide)), 4.2)
    panels = iter(figure.subplots(1, len(wide), width_ratios=wide, squeeze=False)[0])
    if drawn["loss"]:
        _draw_loss(next(panels), history)
    if drawn["accuracy"]:
        axes = next(panels)
        for values, (colour, label) in zip(accuracies, ACCURACIES, strict=True):
            if has_numbers(values):
                line(axes, percent(values), colour, label, 2.0)
        style(axes, "accuracy (%)", "epoch")
    if drawn["rate"]:
        axes = next(panels)
        line(axes, history.lr_history, GREEN, None, 2.0)
        style(axes, "learning rate", "epoch")
        axes.set_ylim(bottom=0)
    return figure


def _draw_loss(axes: "Axes", history: History) -> None:
    """The mean over blocks, before the range from the lowest block to the highest."""
    mean = history.train_loss_history
    low, high = np.full((2, len(mean)), np.nan)
    for epoch in range(len(mean)):
        losses = [b["loss"][epoch] for b in history.blocks.values() if epoch < len(b["loss"])]
        if has_numbers(losses):
            low[epoch], high[epoch] = np.nanmin(losses), np.nanmax(losses)
    if np.isfinite(low).any():
        x = range(1, len(mean) + 1)
        axes.fill_between(
            x, low, high, color=BLUE, alpha=0.18, linewidth=0, label="lowest to highest block"
        )
        if len(mean) == 1:  # an area of no width
            axes.vlines(x, low, high, color=BLUE, alpha=0.3, linewidth=8)
    line(axes, mean, BLUE, "mean over blocks", 2.0)
    style(axes, "training loss (nats)", "epoch")
    log_scale(axes, [v for v in (*mean, *low) if np.isfinite(v)])


def plot_blocks(history: History) -> "Figure | None":
    """Loss and accuracy of every block by epoch, from dark (block 1) to light (block T).

    Args:
        history: with NaN for gaps.

    Returns:
        None where it holds no number of any block.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    blocks = sorted(history.blocks, key=int)
    panels = [
        (name, title)
        for name, title in (
            ("loss", "training loss of each block (nats)"),
            ("accuracy", "training accuracy of each block (%), with dropout"),
        )
        if any(has_numbers(history.blocks[t][name]) for t in blocks)
    ]
    if not panels:
        return None
    last = int(blocks[-1])
    figure = new_figure(1.4 + 5.8 * len(panels), 4.6)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, title) in zip(all_axes, panels, strict=True):
        for t in blocks:
            values = history.blocks[t][name]
            shown = percent(values) if name == "accuracy" else values
            line(axes, shown, shade(int(t) - 1, last), None, 1.6)
        style(axes, title, "epoch")
        if len(blocks) * len(axes.lines[0].get_xdata()) > MOST_POINTS:
            for drawn in axes.lines:
                drawn.set_rasterized(True)
    if panels[0][0] == "loss":
        losses = [v for t in blocks for v in history.blocks[t]["loss"] if np.isfinite(v)]
        log_scale(all_axes[0], losses)
    steps = np.arange(last)
    colours = ListedColormap(colormaps["viridis"](0.9 * steps / max(last - 1, 1)))
    scale = ScalarMappable(BoundaryNorm(np.arange(last + 1) + 0.5, last), colours)
    gap = -(-last // 10)
    ticks = sorted({1, *range(gap, last + 1, gap)})
    bar = figure.colorbar(scale, ax=list(all_axes), ticks=ticks, pad=0.02, aspect=24)
    bar.ax.minorticks_off()
    bar.ax.set_yticks(ticks, list(map(str, ticks)))
    bar.set_label("block t", color=INK)
    bar.outline.set_visible(False)
    return figure


def plot_denoising(
    accuracy_after_t: Sequence[float], block_accuracy: Sequence[float], num_classes: int
) -> "Figure":
    """How accuracy grows along the chain of blocks.

    Args:
        accuracy_after_t: T fractions, of the readout of z_t for t = 1..T.
        block_accuracy: T fractions, of each block's own softmax.
        num_classes: K; guessing is right in 1 of K.
    """
    figure = new_figure(8, 4.6)
    axes = figure.subplots()
    chance = 100 / num_classes
    axes.axhline(chance, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), label="guessing")
    line(axes, percent(block_accuracy), ORANGE, "the block's own softmax", 2.0)
    line(axes, percent(accuracy_after_t), BLUE, "readout of z_t", 2.0)
    last = len(accuracy_after_t)
    few = last <= MAX_NAMES
    for t, accuracy in enumerate(accuracy_after_t, start=1):
        if few or t == last:
            below = accuracy <= block_accuracy[t - 1]
            axes.annotate(
                f"{100 * accuracy:.1f}",
                (t, 100 * accuracy),
                xytext=(0, -9 if below else 9),
                textcoords="offset points",
                ha="center",
                va="top" if below else "bottom",
                fontsize=8,
                color=BLUE,
                bbox={"facecolor": "white", "pad": 0.6, "linewidth": 0},
            )
    style(axes, "test accuracy (%)", "after denoising step t")
    best = 100 * max(*accuracy_after_t, *block_accuracy)
    axes.set(xlim=(0.6, last + 0.4), ylim=(-3, min(104, best + 12)))
    return figure

"""Pictures of numbers by epoch and by block."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from noprop_dist.draw.axes import (
    MAX_NAMES,
    block_bar,
    block_colours,
    counted,
    line,
    log_scale,
    percent,
)
from noprop_dist.draw.style import COLOUR_OF, INK, PAPER, new_figure
from noprop_dist.record.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MOST_POINTS = 5000  # of vector graphics; more become an image in it
ACCURACIES = (
    ("train_accuracy_history", "block", "blocks, training (with dropout)"),
    ("val_accuracy_history", "z_T", "z_T, validation"),
    ("val_accuracy_mean_softmax_history", "mean_softmax", "mean softmax, validation"),
)


def has_numbers(values: Sequence[float]) -> bool:
    """Whether any of them is one."""
    return bool(np.isfinite(values).any()) if values else False


def history_panels(history: History) -> list[str]:
    """Which of "loss", "accuracy" and "rate" there are numbers of."""
    there = {
        "loss": has_numbers(history.train_loss_history),
        "accuracy": any(has_numbers(getattr(history, name)) for name, *_ in ACCURACIES),
        "rate": has_numbers(history.lr_history),
    }
    return [name for name, found in there.items() if found]


def plot_history(history: History) -> "Figure":
    """Loss, accuracy and learning rate by epoch: a panel for each that there is.

    Args:
        history: with NaN for gaps, and a number in one of ``history_panels``.
    """
    names = history_panels(history)
    wide = [4 if name == "rate" else 5 for name in names]
    figure = new_figure(max(6.0, 0.93 * sum(wide)), 4.6)
    all_axes = figure.subplots(1, len(wide), width_ratios=wide, squeeze=False)[0]
    for axes, name in zip(all_axes, names, strict=True):
        if name == "loss":
            _draw_loss(axes, history)
        elif name == "accuracy":
            for series, what, label in ACCURACIES:
                if has_numbers(values := getattr(history, series)):
                    line(axes, percent(values), COLOUR_OF[what], label, 2.0)
            counted(axes, "accuracy (%)", "epoch")
        else:
            line(axes, history.lr_history, INK, None, 2.0)
            counted(axes, "learning rate", "epoch")
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
    colour, several = COLOUR_OF["block"], bool((high > low).any())
    if several:
        x = range(1, len(mean) + 1)
        axes.fill_between(
            x, low, high, color=colour, alpha=0.18, linewidth=0, label="lowest to highest block"
        )
        if len(mean) == 1:  # an area of no width
            axes.vlines(x, low, high, color=colour, alpha=0.3, linewidth=8)
    line(axes, mean, colour, "mean over blocks" if several else None, 2.0)
    counted(axes, "training loss (nats)", "epoch")
    log_scale(axes, [v for v in (*mean, *low, *high) if np.isfinite(v)])


def block_panels(history: History) -> list[str]:
    """Which of "loss" and "accuracy" there are numbers of, of any block."""
    blocks = history.blocks.values()
    return [n for n in ("loss", "accuracy") if any(has_numbers(block[n]) for block in blocks)]


def plot_blocks(history: History) -> "Figure":
    """Loss and accuracy of every block by epoch, from dark (block 1) to light (block T).

    Args:
        history: with NaN for gaps, and a number in one of ``block_panels``.
    """
    titles = {
        "loss": "training loss of each block (nats)",
        "accuracy": "training accuracy of each block (%), with dropout",
    }
    blocks = sorted(map(int, history.blocks))
    colours = block_colours(blocks[-1])
    names = block_panels(history)
    figure = new_figure(1.4 + 5.8 * len(names), 4.6)
    all_axes = list(figure.subplots(1, len(names), squeeze=False)[0])
    for axes, name in zip(all_axes, names, strict=True):
        for t in blocks:
            values = history.blocks[str(t)][name]
            shown = percent(values) if name == "accuracy" else values
            line(axes, shown, colours.to_rgba(t), None, 1.6)  # type: ignore[arg-type]
        counted(axes, titles[name], "epoch")
        if len(blocks) * len(axes.lines[0].get_xdata()) > MOST_POINTS:
            for drawn in axes.lines:
                drawn.set_rasterized(True)
        if name == "loss":
            losses = [v for block in history.blocks.values() for v in block["loss"]]
            log_scale(axes, [v for v in losses if np.isfinite(v)])
    block_bar(colours, all_axes, blocks[-1], aspect=24)
    return figure


def draw_chain(axes: "Axes", after_t: Sequence[float], block: Sequence[float]) -> None:
    """Accuracies of T blocks, as fractions: of the readout of z_t, and of each block's softmax."""
    line(axes, percent(block), COLOUR_OF["block"], "the block's own softmax", 2.0)
    line(axes, percent(after_t), COLOUR_OF["z_T"], "readout of z_t", 2.0)


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
    axes.axhline(chance, color=COLOUR_OF["guessing"], linewidth=1.2, ls="--", label="guessing")
    draw_chain(axes, accuracy_after_t, block_accuracy)
    last = len(accuracy_after_t)
    for t in range(1 if last <= MAX_NAMES else last, last + 1):
        y = 100 * accuracy_after_t[t - 1]
        below = accuracy_after_t[t - 1] <= block_accuracy[t - 1]
        axes.annotate(
            f"{y:.1f}", (t, y), xytext=(5, -5) if below else (-5, 5), fontsize=8,
            textcoords="offset points", ha="left" if below else "right",
            va="top" if below else "bottom", color=COLOUR_OF["z_T"],
            bbox={"facecolor": PAPER, "pad": 0.6, "linewidth": 0},
        )  # fmt: skip
    counted(axes, "test accuracy (%)", "after denoising step t")
    best = 100 * max(*accuracy_after_t, *block_accuracy)
    axes.set(ylim=(-3, min(104, best + 12)))
    return figure

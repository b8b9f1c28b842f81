"""Pictures of a run, as matplotlib figures that share no global state.

B images of C channels and H x W pixels, K classes, T blocks, class embeddings of D numbers.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from noprop_dist.record.history import History
from noprop_dist.record.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers tell apart
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, GREY, GRID = "#222222", "#767676", "#E3E3E3"
DOTS_PER_INCH = 150
MAX_NAMES = 20  # more class names than this would lie over one another
NAME_CHARS = 14

Scalar = TypeVar("Scalar", bound=np.generic)


def save_figure(store: Store, path: str, figure: "Figure") -> None:
    """Write ``figure`` as a PNG.

    Args:
        store: the run folder.
        path: inside it, such as ``plots/history.png``.
        figure: any of this module's.

    Raises:
        UserError: the folder cannot be written to.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DOTS_PER_INCH, facecolor="white")
    store.write(path, picture.getvalue())


def plot_history(history: History) -> "Figure":
    """The loss of every block, the accuracies and the learning rate, by epoch."""
    figure = new_figure(13, 4)
    losses, accuracies, rates = figure.subplots(1, 3, width_ratios=(5, 5, 3))
    blocks = sorted(history.blocks, key=int)
    for rank, t in enumerate(blocks):
        shade = _shade(rank, len(blocks))
        label = f"block {t}" if t in (blocks[0], blocks[-1]) else None
        line(losses, history.blocks[t]["loss"], shade, label, 1.2)
    line(losses, history.train_loss_history, INK, "mean", 2.4)
    style(losses, "training loss (nats)", "epoch")
    _log_scale(losses, [loss for t in blocks for loss in history.blocks[t]["loss"]])
    curves = (
        (history.train_accuracy_history, GREY, "blocks, training (with dropout)"),
        (history.val_accuracy_history, BLUE, "z_T, validation"),
        (history.val_accuracy_mean_softmax_history, ORANGE, "mean softmax, validation"),
    )
    for values, colour, label in curves:
        if any(value is not None for value in values):
            line(accuracies, percent(values), colour, label, 2.0)
    style(accuracies, "accuracy (%)", "epoch")
    line(rates, history.lr_history, GREEN, None, 2.0)
    style(rates, "learning rate", "epoch")
    rates.set_ylim(bottom=0)
    return figure


def plot_denoising(accuracy_after_t: Sequence[float], block_accuracy: Sequence[float]) -> "Figure":
    """How accuracy grows along the chain of blocks.

    Args:
        accuracy_after_t: T fractions, of the readout of z_t for t = 1..T.
        block_accuracy: T fractions, of each block's own softmax.
    """
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    line(axes, percent(block_accuracy), ORANGE, "the block's own softmax", 2.0)
    line(axes, percent(accuracy_after_t), BLUE, "readout of z_t", 2.0)
    style(axes, "test accuracy (%)", "after block t")
    return figure


def plot_confusion(confusion: npt.ArrayLike, class_names: Sequence[str]) -> "Figure":
    """Which classes are taken for which.

    Args:
        confusion: (K, K) counts by true class (row) and answer (column).
        class_names: K names.
    """
    from matplotlib.colors import PowerNorm

    counts = np.asarray(confusion, dtype=np.int64)
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 7.5 if len(counts) > MAX_NAMES else 3.2 + 0.42 * len(counts)
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    # A power below one shows rare mistakes beside a full diagonal.
    norm = PowerNorm(0.4, vmin=0, vmax=100)
    image = axes.imshow(share, cmap="Blues", norm=norm, interpolation="nearest")
    if len(counts) <= MAX_NAMES:
        for row, column in zip(*np.nonzero(counts), strict=True):
            dark = norm(share[row, column]) > 0.55
            axes.text(
                column,
                row,
                f"{counts[row, column]:,}",
                color="white" if dark else INK,
                ha="center",
                va="center",
                fontsize=7,
            )
    _name_ticks(axes, class_names)
    axes.set_xlabel("answer", color=INK)
    axes.set_ylabel("true class", color=INK)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, ticks=[0, 1, 5, 20, 50, 100])
    bar.set_label("share of the true class (%)", color=INK)
    bar.outline.set_visible(False)
    return figure


def plot_embedding(
    class_embed: Tensor,
    class_names: Sequence[str],
    image_shape: tuple[int, ...] | None = None,
) -> "Figure":
    """The class embeddings seen from their widest side, their distances, and themselves.

    Args:
        class_embed: (K, D) float.
        class_names: K names.
        image_shape: (C, H, W) with C * H * W = D draws them as images too.
    """
    u = class_embed.detach().cpu().double().numpy()
    pictured = image_shape is not None
    figure = new_figure(16 if pictured else 11, 5)
    panels = figure.subplots(1, 3 if pictured else 2)
    _scatter(panels[0], u, class_names)
    squares = (u**2).sum(axis=1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * u @ u.T, 0))
    image = panels[1].imshow(distance, cmap="viridis", vmin=0, interpolation="nearest")
    _name_ticks(panels[1], class_names)
    _title(panels[1], "distance between classes")
    figure.colorbar(image, ax=panels[1], shrink=0.8).outline.set_visible(False)
    if image_shape is not None:
        images = u.reshape(-1, *image_shape)
        low, high = images.min(), images.max()
        scaled = (images - low) / max(high - low, 1e-12)
        panels[2].imshow(_mosaic(scaled), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        panels[2].axis("off")
        _title(panels[2], "the embeddings as images")
    return figure


def plot_predictions(
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    answers: npt.NDArray[np.int64],
    confidence: npt.NDArray[np.float32],
    class_names: Sequence[str],
) -> "Figure":
    """Images with the network's answers: blue where right, vermilion where wrong.

    Args:
        images: uint8 (B, C, H, W), C = 1 or 3, on the 0..255 scale.
        labels: (B,) true classes.
        answers: (B,) of the network.
        confidence: (B,) the probability of each answer.
        class_names: K names.
    """
    columns = min(8, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(1.5 * columns, 1.95 * rows)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for cell in cells:
        cell.axis("off")
    for i, cell in enumerate(cells[: len(images)]):
        cell.imshow(_channels_last(images[i]), cmap="gray", vmin=0, vmax=255)
        right = labels[i] == answers[i]
        truth = "" if right else f"\nis {_short(class_names[labels[i]])}"
        cell.set_title(
            f"{_short(class_names[answers[i]])}  {100 * confidence[i]:.0f} %{truth}",
            fontsize=8,
            color=BLUE if right else VERMILION,
        )
    return figure


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def line(
    axes: "Axes", values: Sequence[float | None], colour: object, label: str | None, width: float
) -> None:
    """Values at 1, 2, ...; None leaves a gap, and few points get marks so that one is seen."""
    y = [np.nan if value is None else value for value in values]
    mark = "o" if len(y) <= MAX_NAMES else ""
    x = range(1, len(y) + 1)
    axes.plot(x, y, color=colour, label=label, linewidth=width, marker=mark, markersize=3 + width)


def _log_scale(axes: "Axes", values: Sequence[float]) -> None:
    """A logarithmic scale with plain numbers, where the values allow one."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    if values and min(values) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def style(axes: "Axes", title: str, x: str) -> None:
    """A frame for curves by epoch, block or step: whole numbers on the x axis, and a legend."""
    from matplotlib.ticker import MaxNLocator

    frame(axes, title, x)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9)


def frame(axes: "Axes", title: str, x: str) -> None:
    """What all of our axes look alike in: title, name of the x axis, grid and open sides."""
    _title(axes, title)
    axes.set_xlabel(x, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _title(axes: "Axes", text: str) -> None:
    axes.set_title(text, loc="left", fontsize=11, color=INK)


def _scatter(axes: "Axes", u: npt.NDArray[np.float64], class_names: Sequence[str]) -> None:
    """The two principal components, each class at its name or, where there are many, number."""
    centred = u - u.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    x, y = np.pad(left * size, ((0, 0), (0, 2)))[:, :2].T
    colours = [_shade(k, len(u)) for k in range(len(u))]
    axes.scatter(x, y, c=colours, s=36 if len(u) <= MAX_NAMES else 10)
    for k in range(len(u)):
        few = len(u) <= MAX_NAMES
        axes.annotate(
            _short(class_names[k]) if few else str(k),
            (x[k], y[k]),
            xytext=(5, 4) if few else (2, 2),
            textcoords="offset points",
            fontsize=8 if few else 6,
            color=INK,
        )
    total = max(float((size**2).sum()), 1e-12)
    share = 100 * float((size[:2] ** 2).sum()) / total
    frame(axes, "two principal components", f"{share:.0f} % of the variance")
    axes.margins(0.12)
    axes.set_aspect("equal", adjustable="datalim")


def _name_ticks(axes: "Axes", class_names: Sequence[str]) -> None:
    if len(class_names) <= MAX_NAMES:
        places = range(len(class_names))
        names = [_short(name) for name in class_names]
        axes.set_xticks(places, names, fontsize=8)
        if max(map(len, names)) > 3:
            axes.tick_params(axis="x", rotation=45)
            for label in axes.get_xticklabels():
                label.set(horizontalalignment="right", rotation_mode="anchor")
        axes.set_yticks(places, names, fontsize=8)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)


def _mosaic(images: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(B, C, H, W) as one image, row by row, with white gaps."""
    columns = int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    _, channels, height, width = images.shape
    sheet = np.ones((channels, rows * (height + 1) - 1, columns * (width + 1) - 1))
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        sheet[:, top : top + height, left : left + width] = image
    return _channels_last(sheet)


def _channels_last(image: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)


def _shade(rank: int, count: int) -> tuple[float, float, float, float]:
    """A colour from dark to light, which keeps the order of blocks or classes visible."""
    from matplotlib import colormaps

    red, green, blue, alpha = colormaps["viridis"](0.9 * rank / max(count - 1, 1))
    return red, green, blue, alpha


def percent(values: Sequence[float | None]) -> list[float | None]:
    """Fractions times 100."""
    return [None if value is None else 100 * value for value in values]


def _short(name: str) -> str:
    return name if len(name) <= NAME_CHARS else name[: NAME_CHARS - 2] + ".."

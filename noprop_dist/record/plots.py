"""What all pictures share: colours, frames, curves, and how a figure becomes a file.

Figures share no global state.
"""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import numpy as np

from noprop_dist.record.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Format = Literal["png", "svg", "pdf"]

# Okabe and Ito's colours, which colour-blind readers tell apart
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW = "#56B4E9", "#CC79A7", "#F0E442"
INK, GREY, GRID = "#222222", "#767676", "#E3E3E3"
DOTS_PER_INCH = 150
MAX_NAMES = 20  # more class names than this would lie over one another
NAME_CHARS = 14
ROW_CHARS = 36  # of names beside rows, which have the room
INCHES_PER_CHAR = 0.075  # of names beside rows

# Matplotlib counts these afresh in every figure: two figures of one page would share them.
COUNTED_ID = re.compile(rb' id="([A-Za-z][\w.]*_\d+)"')


def save_figure(store: Store, path: str, figure: "Figure") -> None:
    """Write ``figure`` as a PNG.

    Args:
        store: the run folder.
        path: inside it, such as ``plots/history.png``.
        figure: any of this module's.

    Raises:
        UserError: the folder cannot be written to.
    """
    store.write(path, figure_bytes(figure))


@contextmanager
def missing_letters_silenced() -> Iterator[None]:
    """No word of letters that the font lacks: boxes stand for them, which says it once and for all.

    Matplotlib warns of each letter, whenever something is measured or drawn.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


@missing_letters_silenced()
def figure_bytes(figure: "Figure", form: Format = "png", name: str = "") -> bytes:
    """A figure as a file; one figure gives the same bytes each time.

    In SVG, words stay words in the reader's font.

    Args:
        figure: to be drawn.
        form: of the file.
        name: SVG: begins every id, so that several pictures can stand on one page.
    """
    from matplotlib import rc_context

    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    out = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(
            out,
            format=form,
            dpi=DOTS_PER_INCH,
            facecolor="white",
            metadata=dates.get(form),
        )
    if form != "svg":
        return out.getvalue()
    return COUNTED_ID.sub(rb' id="' + name.encode() + rb'-\1"', out.getvalue())


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


def log_scale(axes: "Axes", values: Sequence[float]) -> None:
    """A logarithmic scale with plain numbers on the y axis, where the values allow one."""
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
    head(axes, title)
    axes.set_xlabel(x, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def head(axes: "Axes", text: str) -> None:
    """The title of axes, at their left."""
    axes.set_title(text, loc="left", fontsize=11, color=INK)


def name_ticks(axes: "Axes", class_names: Sequence[str]) -> None:
    """Classes along both axes of a matrix: their names, or numbers where there are many."""
    if len(class_names) <= MAX_NAMES:
        places = range(len(class_names))
        names = [short(name) for name in class_names]
        axes.set_xticks(places, names, fontsize=8)
        if max(map(len, names)) > 3:
            axes.tick_params(axis="x", rotation=45)
            for label in axes.get_xticklabels():
                label.set(horizontalalignment="right", rotation_mode="anchor")
        axes.set_yticks(places, [short(name, ROW_CHARS) for name in class_names], fontsize=8)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)


def row_room(class_names: Sequence[str]) -> float:
    """Inches that the names beside the rows of a matrix take beyond those below its columns."""
    longest = max(map(len, class_names)) if len(class_names) <= MAX_NAMES else 0
    return INCHES_PER_CHAR * max(0, min(longest, ROW_CHARS) - NAME_CHARS)


def shade(rank: int, count: int) -> tuple[float, float, float, float]:
    """A colour from dark to light, which keeps the order of blocks visible."""
    from matplotlib import colormaps

    red, green, blue, alpha = colormaps["viridis"](0.9 * rank / max(count - 1, 1))
    return red, green, blue, alpha


def percent(values: Sequence[float | None]) -> list[float | None]:
    """Fractions times 100."""
    return [None if value is None else 100 * value for value in values]


def short(name: str, most: int = NAME_CHARS) -> str:
    """A name of at most so many letters, none of which matplotlib takes for mathematics."""
    kept = name if len(name) <= most else name[: most - 2] + ".."
    return kept.replace("$", r"\$")

"""What all pictures share: colours, frames, curves, and how a figure becomes a file.

They look the same whatever a user has set up for pictures of their own, and share no state with
them. A picture that cannot be drawn costs nothing else.
"""

import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from noprop_dist.record.progress import say
from noprop_dist.record.store import Store, inside
from noprop_dist.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")
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

BACKENDS = {"png": "agg", "svg": "svg", "pdf": "pdf"}
METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": "noprop-dist"},  # by which a picture of ours is told from data
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}

# Matplotlib counts these afresh in every figure: two figures of one page would share them.
COUNTED_ID = re.compile(rb' id="([A-Za-z][\w.]*_\d+)"')


class Missing:
    """Pictures that could not be drawn, and why."""

    def __init__(self) -> None:
        self._by_reason: dict[str, list[str]] = {}

    def attempt(
        self, picture: str, draw: Callable[[], T], but: tuple[type[Exception], ...] = ()
    ) -> T | None:
        """What ``draw`` returns, in ``own_style``; None where it fails, which is noted.

        Args:
            picture: what is missing then.
            draw: makes it, or a part of it.
            but: exceptions that mean something to the caller.
        """
        try:
            with own_style():
                return draw()
        except but:
            raise
        except Exception as error:
            why = " ".join(str(error).split()) or type(error).__name__
            self._by_reason.setdefault(why.rstrip("."), []).append(picture)
            return None

    @property
    def sentences(self) -> list[str]:
        """One for each reason."""
        return [f"not drawn: {listed(p)} ({why})" for why, p in self._by_reason.items()]


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def save_figure(store: Store, path: str, make: "Callable[[], Figure]") -> bool:
    """Draw a picture and write it as a PNG, else say in a line on standard error why not.

    Args:
        store: the run folder.
        path: inside it, such as ``plots/history.png``.
        make: any of the project's figures.

    Returns:
        Whether it was written.
    """
    missing = Missing()
    missing.attempt(inside(store.root, path), lambda: store.write(path, figure_bytes(make())))
    for sentence in missing.sentences:
        say(sentence)
    return not missing.sentences


@contextmanager
def own_style(**settings: Any) -> Iterator[None]:
    """Inside, matplotlib draws as it does by default, and does not speak.

    The user's own settings are back afterwards. Boxes stand for letters that the font lacks, which
    says it once and for all: matplotlib would warn whenever one is measured or drawn.

    Args:
        settings: rcParams, with underscores for points.

    Raises:
        ImportError: there is no matplotlib.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    with warnings.catch_warnings():
        # Last of all filters: who asks for warnings, as the tests do, still gets them.
        warnings.simplefilter("ignore", append=True)
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        logger.setLevel(logging.CRITICAL + 1)
        try:
            matplotlib = _matplotlib()
            own = {k: v for k, v in dict.items(matplotlib.rcParamsDefault) if k != "backend"}
            own |= {"svg.fonttype": "none"} | {k.replace("_", "."): v for k, v in settings.items()}
            with matplotlib.rc_context(own):
                yield
        finally:
            logger.setLevel(level)


def _matplotlib() -> Any:
    """Matplotlib, although a user's settings may be such that it cannot be imported."""
    if "matplotlib.font_manager" in sys.modules:
        return sys.modules["matplotlib"]
    set_up = {name: os.environ.get(name) for name in ("MPLBACKEND", "MATPLOTLIBRC", "MPLCONFIGDIR")}
    try:
        try:
            import_module("matplotlib.font_manager")
        except Exception:
            _import_without_settings()
    finally:
        for name, value in set_up.items():  # matplotlib itself may set the last one
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return sys.modules["matplotlib"]


def _import_without_settings() -> None:
    """As if nobody had set matplotlib up."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]  # it was left half imported
    os.environ.pop("MPLBACKEND", None)
    os.environ["MATPLOTLIBRC"] = os.devnull
    if place := os.environ.get("MPLCONFIGDIR"):
        os.environ["MPLCONFIGDIR"] = str(Path(place).absolute())
    here = os.open(".", os.O_RDONLY)
    with TemporaryDirectory() as empty:
        try:
            os.chdir(empty)  # a matplotlibrc in the working directory comes first
            import_module("matplotlib.font_manager")
        finally:
            os.fchdir(here)
            os.close(here)


def figure_bytes(figure: "Figure", form: Format = "png", name: str = "") -> bytes:
    """A figure as a file; one figure gives the same bytes each time.

    In SVG, words stay words in the reader's font.

    Args:
        figure: to be drawn.
        form: of the file.
        name: SVG: begins every id, so that several pictures can stand on one page.
    """
    drawn = render(figure, form, name=name)
    return COUNTED_ID.sub(rb' id="' + name.encode() + rb'-\1"', drawn) if form == "svg" else drawn


def render(figure: "Figure", form: Format, *, dpi: int = DOTS_PER_INCH, name: str = "") -> bytes:
    """A figure as a file, by one of matplotlib's own backends.

    Args:
        figure: to be drawn.
        form: of the file.
        dpi: dots per inch of what is made of dots.
        name: SVG: what ids are made from.
    """
    out = io.BytesIO()
    with own_style(svg_hashsalt=name):
        figure.savefig(
            out,
            format=form,
            backend=BACKENDS[form],
            dpi=dpi,
            facecolor="white",
            metadata=METADATA[form],
        )
    return out.getvalue()


def new_figure(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> "Figure":
    """An empty figure of so many inches, to be made and drawn in ``own_style``."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


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
    told = printable(name)
    kept = told if len(told) <= most else told[: most - 2] + ".."
    return kept.replace("$", r"\$")

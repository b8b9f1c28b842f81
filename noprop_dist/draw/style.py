"""How all pictures look, on light paper and on dark, and how a figure becomes a file.

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
from contextlib import chdir, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from noprop_dist.record.progress import say
from noprop_dist.record.store import Store, inside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Format = Literal["png", "svg", "pdf"]
Make = Callable[[], "Figure"]

# Colours by their place in the cycle of a style, so that each kind of paper has its own.
OF_CLASSES = tuple(f"C{i}" for i in range(10))
BLUE, ORANGE, GREEN, VERMILION, INK, PINK, SKY, _, WINE, _ = OF_CLASSES
GREY, GRID, GROUND, PAPER, MISTAKE = (f"C{i}" for i in range(10, 15))
LIGHT = (  # of classes Okabe and Ito's eight, for colour-blind readers, yellow darker, and two more
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#222222", "#CC79A7", "#56B4E9", "#A5A000",
    "#882255", "#999999", "#6A6A6A", "#E3E3E3", "#F7F7F7", "#FFFFFF", "#B34700",
)  # fmt: skip
DARK = (  # the same hues, as light as it takes to be seen
    "#3D9BDC", "#E69F00", "#1DB88A", "#E8743B", "#E8EAED", "#D993BB", "#8CCBF2", "#F0E442",
    "#B8508A", "#999999", "#A3ABB5", "#363C43", "#22262B", "#1A1D21", "#F09560",
)  # fmt: skip
DARK_PAPER = DARK[int(PAPER[1:])]
DOTS_PER_INCH = 150
# What has one colour in every picture: what answers, what is given as z, methods of a comparison,
# trials of a sweep, answers.
COLOUR_OF = {
    "z_T": BLUE, "mean_softmax": ORANGE, "weighted": GREEN, "last_block": WINE,
    "best_block": WINE, "block": WINE, "guessing": GREY,
    "chain": WINE, "noise": GREY, "other": SKY, "label": GREEN,
    "noprop": BLUE, "twin": VERMILION, "noprop-sequential": GREEN, "single": WINE,
    "twin-checkpointed": PINK, "layerwise": SKY,
    "best": BLUE, "finished": SKY, "stopped": GREY, "failed": VERMILION, "unfinished": GREY,
    "hit": BLUE, "mistake": VERMILION,
}  # fmt: skip

# Of readouts, which stand beside each other; a block alone has the colour of all blocks.
MARK_OF = {"z_T": "o", "mean_softmax": "s", "weighted": "^", "best_block": "D", "last_block": "D"}

METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": "noprop-dist"},  # by which a picture of ours is told from data
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}

# Matplotlib counts these afresh in every figure: two figures of one page would share them.
COUNTED_ID = re.compile(rb' id="([A-Za-z][\w.]*_\d+)"')


def drawn(
    make: Make,
    form: Format = "png",
    *,
    name: str = "",
    dark: bool = False,
    dpi: float = DOTS_PER_INCH,
) -> bytes:
    """A picture as a file; it has the same bytes each time.

    In SVG, words stay words in the reader's font.

    Args:
        make: one of the project's figures.
        form: of the file.
        name: SVG: begins every id, so that several pictures can stand on one page.
        dark: for dark paper.
        dpi: dots per inch of what is made of dots.
    """
    out = io.BytesIO()
    with own_style(dark=dark, svg_hashsalt=name):
        backend = "agg" if form == "png" else form
        make().savefig(out, format=form, backend=backend, dpi=dpi, metadata=METADATA[form])
    data = out.getvalue()
    return COUNTED_ID.sub(rb' id="' + name.encode() + rb'-\1"', data) if form == "svg" else data


class NotDrawn:
    """Pictures that could not be drawn, and why."""

    def __init__(self) -> None:
        self._by_reason: dict[str, list[str]] = {}

    def add(self, picture: str, error: Exception) -> None:
        """Note one, and what came in its way."""
        why = " ".join(str(error).split()) or type(error).__name__
        self._by_reason.setdefault(why.rstrip("."), []).append(picture)

    @property
    def sentences(self) -> list[str]:
        """One for each reason."""
        return [f"not drawn: {listed(p)} ({why})" for why, p in self._by_reason.items()]


def save_figure(store: Store, path: str, make: Make) -> bool:
    """Draw a picture and write it as a PNG, else say in a line on standard error why not.

    Args:
        store: the run folder.
        path: inside it, such as ``plots/history.png``.
        make: any of the project's figures.

    Returns:
        Whether it was written.
    """
    failed = NotDrawn()
    try:
        store.write(path, drawn(make))
    except Exception as error:
        failed.add(inside(store.root, path), error)
    for sentence in failed.sentences:
        say(sentence)
    return not failed.sentences


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


@contextmanager
def own_style(*, dark: bool = False, **settings: Any) -> Iterator[None]:
    """Inside, matplotlib draws as it does by default, in our colours, and does not speak.

    The user's own settings are back afterwards. Boxes stand for letters that the font lacks, which
    says it once and for all: matplotlib would warn whenever one is measured or drawn.

    Args:
        dark: for dark paper.
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
            own |= _look(dark) | {k.replace("_", "."): v for k, v in settings.items()}
            with matplotlib.rc_context(own):
                yield
        finally:
            logger.setLevel(level)


def _look(dark: bool) -> dict[str, Any]:
    """The rcParams in which ours differ from matplotlib's own."""
    from cycler import cycler

    colours = DARK if dark else LIGHT
    of = {name: colours[int(name[1:])] for name in (GREY, GRID, INK, PAPER)}
    ink = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), of[INK]
    )
    paper = dict.fromkeys(("figure.facecolor", "savefig.facecolor", "axes.facecolor"), of[PAPER])
    return ink | paper | {
        "axes.prop_cycle": cycler(color=colours),
        "axes.axisbelow": True,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "grid.color": of[GRID],
        "image.interpolation": "none",
        "legend.fontsize": 9,
        "legend.frameon": False,
        "svg.fonttype": "none",
    }  # fmt: skip


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
    # A matplotlibrc in the working directory would come first.
    with TemporaryDirectory() as empty, chdir(empty):
        import_module("matplotlib.font_manager")


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches, to be made and drawn in ``own_style``."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")

"""What axes of several pictures share: curves, frames, legends, matrices, colours, names."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from noprop_dist.draw.style import INK
from noprop_dist.text import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Colormap
    from matplotlib.image import AxesImage

MAX_NAMES = 20  # more class names than this would lie over one another
NAME_CHARS = 14
ROW_CHARS = 36  # of names beside rows, which have the room
INCHES_PER_CHAR = 0.075  # of small letters
SEEN, SEEN_ON_DARK = 2.2, 3.0  # the least contrast of marks; at 3 on light, scales lack hues
LEAST_LOG = 5  # times the smallest value: of less, an axis has too few of the ticks 1, 2, 5, 10

RADIUS = 4.5  # of a point with what stays free around it, in points of 1/72 inch
# Where a name may stand: in radii of its point from there, and how it is aligned
PLACES = (
    (1, 0.6, "left", "bottom"),
    (1, -0.6, "left", "top"),
    (-1, 0.6, "right", "bottom"),
    (-1, -0.6, "right", "top"),
    (0, 1.2, "center", "bottom"),
    (0, -1.2, "center", "top"),
    (1.4, 0, "left", "center"),
    (-1.4, 0, "right", "center"),
)


def line(
    axes: "Axes",
    values: Sequence[float | None],
    colour: object,
    label: str | None,
    width: float,
    mark: str = "o",
) -> None:
    """Values at 1, 2, ...; None leaves a gap, and few points get marks so that one is seen."""
    y = [np.nan if value is None else value for value in values]
    mark = mark if len(y) <= MAX_NAMES else ""
    x = range(1, len(y) + 1)
    axes.plot(x, y, color=colour, label=label, linewidth=width, marker=mark, markersize=3 + width)


def log_scale(axes: "Axes", values: Sequence[float], along: str = "y") -> None:
    """A logarithmic scale with plain numbers on an axis, where the values allow and need one."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    if not values or min(values) <= 0 or max(values) < LEAST_LOG * min(values):
        return
    axes.set(**{f"{along}scale": "log"})
    axis = axes.xaxis if along == "x" else axes.yaxis
    wide = max(values) > (50 if along == "x" else 1000) * min(values)
    axis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_formatter(NullFormatter())


def counted(axes: "Axes", title: str, x: str, first: int = 1) -> None:
    """A frame for curves by epoch, block or step from ``first`` on: whole numbers, and a legend."""
    from matplotlib.ticker import MaxNLocator

    frame(axes, title, x)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    if np.isfinite(last := axes.dataLim.x1):
        axes.set_xlim(first - 0.5, last + max(0.5, 0.02 * last))
    legend(axes)


def legend(axes: "Axes") -> None:
    """What curves and marks mean, below the x axis, where nothing is that it could hide."""
    from matplotlib.transforms import ScaledTranslation

    labels = axes.get_legend_handles_labels()[1]
    if not labels:
        return
    figure: Any = axes.figure
    chars = axes.get_window_extent().width / figure.dpi / INCHES_PER_CHAR
    below = axes.transAxes + ScaledTranslation(0, -0.48, figure.dpi_scale_trans)
    columns = max(1, int(chars / (max(map(len, labels)) + 8)))
    axes.legend(
        loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, borderaxespad=0,
        borderpad=0, ncols=columns,
    )  # fmt: skip


def frame(axes: "Axes", title: str, x: str) -> None:
    """What axes with numbers look alike in: title, name of the x axis, grid and open sides."""
    axes.set(title=title, xlabel=x)
    axes.grid(linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def bare(axes: "Axes") -> None:
    """No ticks and no sides, where only what is inside counts."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def colour_bar(mappable: "ScalarMappable", axes: object, label: str, **style: Any) -> "Colorbar":
    """What the colours mean, beside one of the axes or several."""
    first: Any = axes[0] if isinstance(axes, list) else axes
    bar: Colorbar = first.figure.colorbar(mappable, ax=axes, label=label, **style)
    bar.outline.set_visible(False)
    return bar


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
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def row_room(class_names: Sequence[str]) -> float:
    """Inches that the names beside the rows of a matrix take beyond those below its columns."""
    longest = max(map(len, class_names)) if len(class_names) <= MAX_NAMES else 0
    return INCHES_PER_CHAR * max(0, min(longest, ROW_CHARS) - NAME_CHARS)


def write_cells(image: "AxesImage", words: Mapping[tuple[int, int], str]) -> None:
    """Write in cells of an image, in black or white, whichever has the higher contrast.

    Args:
        image: drawn of a matrix, with its colours as they will be.
        words: by row and column.
    """
    values: Any = image.get_array()
    for (row, column), text in words.items():
        ink = "black" if luminance(image.to_rgba(values[row, column])) > 0.179 else "white"
        image.axes.text(column, row, text, color=ink, ha="center", va="center", fontsize=7)


def luminance(colour: Any) -> float:
    """The relative luminance of WCAG 2.2, 0..1; black and white are as far from 0.179."""
    from matplotlib.colors import to_rgb

    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(a: Any, b: Any) -> float:
    """The contrast ratio of WCAG 2.2, 1..21."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def label_points(
    axes: "Axes", points: npt.NDArray[np.float64], names: Sequence[str], size: float
) -> None:
    """Write names beside their points, each where there is room, and none where there is not.

    The figure's layout is computed here: whatever changes it must come before.

    Args:
        axes: with the points already drawn and the limits as they will be.
        points: (K, 2).
        names: K of them.
        size: of the letters.
    """
    from matplotlib.transforms import Bbox

    figure = axes.figure.figure
    assert figure is not None
    figure.draw_without_rendering()
    inner = axes.get_window_extent()
    reach = 0.6 * RADIUS * figure.dpi / 72
    at = axes.transData.transform(points)
    taken = [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in at]
    for k, (point, name) in enumerate(zip(points, names, strict=True)):
        others = taken[:k] + taken[k + 1 :]
        for right, up, horizontal, vertical in PLACES:
            text = axes.annotate(
                name, (float(point[0]), float(point[1])), xytext=(RADIUS * right, RADIUS * up),
                textcoords="offset points", ha=horizontal, va=vertical, fontsize=size, zorder=5,
            )  # fmt: skip
            text.set_in_layout(False)
            box = text.get_window_extent()
            fits = inner.contains(box.x0, box.y0) and inner.contains(box.x1, box.y1)
            if fits and box.count_overlaps(others) == 0:
                taken.append(box)
                break
            text.remove()


def shades(name: str = "viridis", least: float | None = None) -> "Colormap":
    """As much of a colour map as has at least such a contrast with the paper.

    Args:
        name: viridis, or "Blues" or "Greys", which begin near the paper's colour.
        least: contrast, by which the weakest is told from the paper; None: as marks need it.
    """
    from matplotlib import colormaps, rcParams
    from matplotlib.colors import LinearSegmentedColormap

    paper = rcParams["figure.facecolor"]
    dark = luminance(paper) < 0.5
    turned, least = dark and name != "viridis", least or (SEEN_ON_DARK if dark else SEEN)
    all_shades = colormaps[f"{name}_r" if turned else name](np.linspace(0, 1, 256))
    seen = [shade for shade in all_shades if contrast(shade[:3], paper) >= least]
    return LinearSegmentedColormap.from_list("", seen)


def block_colours(num_blocks: int) -> "ScalarMappable":
    """A colour for each of the blocks 1..T, from dark to light, which keeps their order visible."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    norm = BoundaryNorm(np.arange(num_blocks + 1) + 0.5, num_blocks)
    return ScalarMappable(norm, ListedColormap(shades()(np.linspace(0, 1, num_blocks))))


def block_bar(
    colours: "ScalarMappable", axes: object, num_blocks: int, *, most: int = 10, **style: Any
) -> None:
    """What the colours of blocks mean, with at most so many numbers, from the first to the last."""
    ticks = np.unique(np.linspace(1, num_blocks, most).round().astype(int))
    bar = colour_bar(colours, axes, "block t", ticks=ticks, pad=0.02, **style)
    bar.ax.minorticks_off()
    bar.ax.set_yticks(ticks, list(map(str, ticks)))


def percent(values: Sequence[float | None]) -> list[float | None]:
    """Fractions times 100."""
    return [None if value is None else 100 * value for value in values]


def short(name: str, most: int = NAME_CHARS) -> str:
    """A name of at most so many letters, none of which matplotlib takes for mathematics."""
    return shortened(name, most).replace("$", r"\$")


def draw_tiles(
    axes: "Axes",
    images: npt.NDArray[Any],
    columns: int,
    words: Sequence[str],
    scale: Mapping[str, Any],
    *,
    lines: int = 1,
    colour: str = INK,
) -> "AxesImage":
    """Images beside each other in rows, each over its words; the last of them.

    Args:
        axes: to be filled.
        images: (B, C, H, W), C = 1 or 3, B > 0.
        columns: images of a row.
        words: B texts, or none.
        scale: how numbers become colours.
        lines: of each text.
        colour: of the texts.
    """
    wide, tall = 1.12, 1.12 + 0.15 * lines * bool(words)
    for k, image in enumerate(images):
        x, y = wide * (k % columns), tall * (k // columns)
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        tile = axes.imshow(pixels, extent=(x, x + 1, y + 1, y), **scale)
        if words:
            axes.text(x + 0.5, y + 1.04, words[k], color=colour, ha="center", va="top", fontsize=8)
    axes.set(xlim=(0, wide * columns), ylim=(tall * -(-len(images) // columns), 0), anchor="NW")
    bare(axes)
    return tile

"""Words in the cells of a drawn matrix."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from noprop_dist.draw.colours import ink_on

if TYPE_CHECKING:
    from matplotlib.image import AxesImage


def write_cells(image: "AxesImage", words: Mapping[tuple[int, int], str]) -> None:
    """Write in cells of an image, in black or white as their colours ask.

    Args:
        image: drawn of a matrix, with its colours as they will be.
        words: by row and column.
    """
    values: Any = image.get_array()
    for (row, column), text in words.items():
        red, green, blue, _ = image.cmap(image.norm(values[row, column]), bytes=True)
        r, g, b = ink_on((int(red), int(green), int(blue)))
        ink = f"#{r:02x}{g:02x}{b:02x}"
        image.axes.text(column, row, text, color=ink, ha="center", va="center", fontsize=7)

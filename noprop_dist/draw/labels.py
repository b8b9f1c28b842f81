"""Names beside points, none over another."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from noprop_dist.draw.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

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


def label_points(
    axes: "Axes",
    points: npt.NDArray[np.float64],
    names: Sequence[str],
    size: float,
    *,
    radius: float = 4.5,
    bold: bool = False,
) -> int:
    """Write names beside their points, each where there is room, and none where there is not.

    The figure's layout is computed here: whatever changes it must come before.

    Args:
        axes: with the points already drawn and the limits as they will be.
        points: (K, 2).
        names: K of them.
        size: of the letters.
        radius: of the points with what is to stay free around them, in points of 1/72 inch.
        bold: heavy letters, on a ground of their own.

    Returns:
        How many names found no room.
    """
    from matplotlib.transforms import Bbox

    figure = axes.figure.figure
    assert figure is not None
    figure.draw_without_rendering()
    frame = axes.get_window_extent()
    reach = 0.6 * radius * figure.dpi / 72
    at = axes.transData.transform(points)
    taken = [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in at]
    missing = 0
    for k, (point, name) in enumerate(zip(points, names, strict=True)):
        others = taken[:k] + taken[k + 1 :]
        spot = _free_spot(axes, point, name, size, radius, bold, frame, others)
        missing += spot is None
        taken += [spot] if spot else []
    return missing


def _free_spot(
    axes: "Axes",
    point: npt.NDArray[np.float64],
    name: str,
    size: float,
    radius: float,
    bold: bool,
    frame: "Bbox",
    others: "list[Bbox]",
) -> "Bbox | None":
    """Where the name is now written, clear of the others and inside the frame."""
    ground = {"facecolor": "white", "alpha": 0.75, "pad": 1.0, "linewidth": 0} if bold else None
    for right, up, horizontal, vertical in PLACES:
        text = axes.annotate(
            name,
            (float(point[0]), float(point[1])),
            xytext=(radius * right, radius * up),
            textcoords="offset points",
            ha=horizontal,
            va=vertical,
            fontsize=size,
            weight="bold" if bold else "normal",
            bbox=ground,
            color=INK,
            zorder=5,
        )
        text.set_in_layout(False)
        box = text.get_window_extent()
        inside = frame.x0 <= box.x0 and box.x1 <= frame.x1
        inside = inside and frame.y0 <= box.y0 and box.y1 <= frame.y1
        if inside and not any(box.overlaps(other) for other in others):
            return box
        text.remove()
    return None

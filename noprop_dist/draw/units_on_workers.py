"""The picture of which worker trained which block when."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from noprop_dist.draw.axes import block_bar, block_colours
from noprop_dist.draw.style import GREY, GRID, INK, PAPER, VERMILION, new_figure
from noprop_dist.record.timeline import Lane, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

WIDTH, MAX_HEIGHT = 13.0, 40.0  # inches
NOTES_Y = -1.0  # above the first row, at 0

Places = list[tuple[Lane, float]]  # lanes and the y of their rows


def plot_timeline(timeline: Timeline) -> "Figure":
    """A row per worker, a bar per unit, coloured by block.

    A worker that begins after another one on its node has ended takes its row over.

    Args:
        timeline: with at least one unit.
    """
    places: Places = []
    labels: dict[float, str] = {}
    headings: dict[float, str] = {}
    nodes, y = _rows(timeline), 0
    for node, rows in nodes.items():
        if len(nodes) > 1:
            headings[y] = node or "node unknown"
            y += 1
        for row in sorted(rows, key=lambda row: row[0].spare):
            places += [(lane, y) for lane in row]
            names = list(dict.fromkeys(lane.worker for lane in row))
            names = names if len(names) < 4 else [names[0], "..", names[-1]]
            labels[y] = "spare " * row[0].spare + " \u2192 ".join(names)
            y += 1
    inches = min(0.42, max(0.15, 6 / y), MAX_HEIGHT / y)
    above = 0.7 + bool(timeline.pauses or timeline.set_aside)
    height = inches * (y + above)
    figure = new_figure(WIDTH, 1.1 + height)
    axes = figure.subplots()
    axes.set(xlim=(0, max(timeline.seconds, 1e-3)), ylim=(y - 0.4, -above))
    size = min(9.0, max(3.0, 58 * inches))
    axes.set_yticks(list(labels), list(labels.values()), fontsize=size)
    for at, name in headings.items():
        axes.text(0, at + 0.1, name, fontsize=size, weight="bold", va="center")
    num_blocks = _draw_bars(axes, timeline, places)
    _draw_marks(axes, timeline, places)
    _describe(axes, timeline)
    most = 3 if height < 2 else 10
    block_bar(block_colours(num_blocks), axes, num_blocks, most=most, aspect=height / 0.18)
    return figure


def _rows(timeline: Timeline) -> dict[str, list[list[Lane]]]:
    """By node, lanes that can share a row, as they were never there at one time."""
    nodes: dict[str, list[list[Lane]]] = {}
    several = len(timeline.nodes) > 1
    for lane in timeline.lanes:
        rows = nodes.setdefault(lane.node if several else "", [])
        free = [row for row in rows if row[-1].end <= lane.start and row[0].spare == lane.spare]
        # A resumed run's w0 goes on in w0's row; another goes on where a worker ended last.
        free.sort(key=lambda row: (lane.worker not in {o.worker for o in row}, -row[-1].end))
        if free:
            free[0].append(lane)
        else:
            rows.append([lane])
    return nodes


def _draw_bars(axes: "Axes", timeline: Timeline, places: Places) -> int:
    """The units, on a grey ground for the time that their worker is known to have been there.

    Returns:
        How many blocks there are.
    """
    ground = [(lane.start, lane.known, y, 0, 1) for lane, y in places]
    axes.add_collection(_boxes(ground, facecolor=GRID, label="waiting"))
    work = [((b.start, b.end, y, b.level, lane.depth), b) for lane, y in places for b in lane.bars]
    if evaluations := [box for box, bar in work if not bar.block]:
        axes.add_collection(_boxes(evaluations, facecolor=GREY, label="evaluation"))
    lost = [(e.end - e.lost_seconds, e.end, y, 0, 1) for e, y in places if e.lost_seconds]
    if lost:
        axes.add_collection(_boxes(lost, facecolor=VERMILION, alpha=0.4, label="lost unit"))
    units = [box for box, bar in work if bar.block]
    t = np.array([bar.block for _, bar in work if bar.block])
    last = max(timeline.num_blocks, int(t.max()))
    # Edges would be all there is to see of narrow bars.
    wide = bool(np.median([end - start for start, end, *_ in units]) > 0.005 * timeline.seconds)
    colours = block_colours(last)
    bars = _boxes(units, cmap=colours.cmap, norm=colours.norm, edgecolor=PAPER, antialiased=wide)
    bars.set(array=t, linewidth=0.5 if wide else 0)
    axes.add_collection(bars)
    return last


def _boxes(spans: Sequence[tuple[float, ...]], **style: Any) -> "PolyCollection":
    """Boxes from (left, right, y of the row, level, levels)."""
    from matplotlib.collections import PolyCollection

    left, right, y, level, levels = np.array(spans).T
    top = y - 0.41 + 0.82 * level / levels
    bottom = top + 0.82 / levels
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    boxes: Any = np.array(corners).transpose(2, 0, 1)
    return PolyCollection(boxes, **style)


def _draw_marks(axes: "Axes", timeline: Timeline, places: Places) -> None:
    """Losses, the workers that came after them, blocks that were given up, and pauses."""
    from matplotlib.markers import MarkerStyle
    from matplotlib.transforms import Affine2D

    lost = [(lane.end, y) for lane, y in places if lane.lost is not None]
    losses = sorted((lane.end, lane.session) for lane, _ in places if lane.lost is not None)
    first = {session: end for end, session in reversed(losses)}
    new = [(lane.start, y) for lane, y in places if lane.start >= first.get(lane.session, np.inf)]
    given_up = [(at, NOTES_Y) for at, _ in timeline.set_aside]
    # Beside the moment, so that a loss and a start soon after it do not hide each other.
    before, after = (Affine2D().translate(shift, 0) for shift in (-0.5, 0.5))
    for where, mark, colour, edge, label in (
        (lost, MarkerStyle("X", transform=before), VERMILION, PAPER, "worker lost"),
        (new, MarkerStyle(">", transform=after), PAPER, INK, "new worker"),
        (given_up, MarkerStyle("v"), INK, PAPER, "block set aside"),
    ):
        if where:
            x, y = zip(*where, strict=True)
            marks = axes.scatter(x, y, s=100, marker=mark, color=colour, label=label)
            marks.set(edgecolor=edge, linewidth=0.8, zorder=4, clip_on=False)
    notes = [(at, f"   block {block}") for at, block in timeline.set_aside]
    for at, seconds in timeline.pauses:
        axes.axvline(at, color=INK, linewidth=1.2, linestyle=(0, (4, 2)), zorder=3)
        time = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"
        notes.append((at, f" stopped for {time}"))
    written = -np.inf
    for at, text in sorted(notes):
        if at - written > 0.1 * timeline.seconds:  # else one would lie over the other
            axes.text(at, NOTES_Y, text, fontsize=8, va="center")
            written = at


def _describe(axes: "Axes", timeline: Timeline) -> None:
    num_lost = sum(lane.lost is not None for lane in timeline.lanes)
    workers = f"{timeline.num_workers} worker" + "s" * (timeline.num_workers > 1)
    where = f" on {len(timeline.nodes)} nodes" if len(timeline.nodes) > 1 else ""
    lost = f", {num_lost} lost" if num_lost else ""
    pauses = ", pauses left out" if timeline.pauses else ""
    axes.set(
        title=f"{workers}{where}{lost}, {100 * timeline.busy:.0f} % busy",
        xlabel=f"seconds since the start{pauses}",
    )
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.grid(axis="x", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=5)

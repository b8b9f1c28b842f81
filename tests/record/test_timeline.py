import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from PIL import Image

from noprop_dist.draw.style import save_figure
from noprop_dist.draw.units_on_workers import plot_timeline
from noprop_dist.record.events import EventLog
from noprop_dist.record.store import Store
from noprop_dist.record.timeline import Lane, Timeline, read_timeline

pytestmark = pytest.mark.usefixtures("styled")

T0 = 1_795_518_373.25  # a time as the log has it

Event = dict[str, Any]


def event(name: str, at: float, **fields: Any) -> Event:
    return {"time": T0 + at, "event": name, **fields}


def unit(worker: str, block: int, start: float, seconds: float, step: int = 0) -> Event:
    about = {"block": block, "step": step, "num_steps": 10, "seconds": seconds, "worker": worker}
    return event("unit", start + seconds + 0.01, started=T0 + start, **about)


def started(worker: str, at: float, node: str = "ab" * 28, **fields: Any) -> Event:
    return event("worker_started", at, worker=worker, node_id=node, pid=1, **fields)


def lost(worker: str, at: float, seconds: float) -> Event:
    reason = {"reason": "killed", "seconds": seconds}
    return event("worker_lost", at, worker=worker, blocks=[1], **reason)


def read(folder: Path, *events: Event, finished: bool = True) -> Timeline:
    lines = [json.dumps(e) + "\n" for e in events]
    (folder / "events.jsonl").write_text("".join(lines))
    if finished:
        (folder / "result.json").write_text("{}")
    return read_timeline(Store(folder))


def local_run(at: float = 0.0) -> list[Event]:
    return [
        event("run_started", at, checkpoint=None, warnings=[], steps={"1": 0, "2": 0}),
        unit("slot_1", 2, at + 1, 3),
        unit("slot_0", 1, at, 5),
        unit("slot_1", 3, at + 6, 4, step=10),
    ]


def spans(lane: Lane) -> list[tuple[int, float, float]]:
    return [(bar.block, round(bar.start, 3), round(bar.end, 3)) for bar in lane.bars]


def picture(figure: Figure, folder: Path) -> Image.Image:
    """The PNG that comes out."""
    assert save_figure(Store(folder), "plots/timeline.png", lambda: figure)
    image = Image.open(io.BytesIO((folder / "plots/timeline.png").read_bytes()))
    width, height = figure.get_size_inches()
    assert image.size == pytest.approx((150 * width, 150 * height), abs=1)
    return image


def drawn_bars(figure: Figure) -> list[tuple[int, float, float, float]]:
    """Block, start, end and y of the middle, of every box that has a block's colour."""
    found = []
    for boxes in figure.axes[0].collections:
        blocks = boxes.get_array()
        if blocks is None:
            continue
        assert isinstance(boxes, PolyCollection)
        for block, path in zip(blocks, boxes.get_paths(), strict=True):
            (left, top), (right, bottom) = path.vertices.min(axis=0), path.vertices.max(axis=0)
            middle = (top + bottom) / 2
            found.append((int(block), *(round(float(v), 3) for v in (left, right, middle))))
    return found


def legend(figure: Figure) -> set[str]:
    made = figure.axes[0].get_legend()
    assert made is not None
    return {text.get_text() for text in made.get_texts()}


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def marks(figure: Figure, label: str) -> list[tuple[float, float]]:
    (made,) = (c for c in figure.axes[0].collections if c.get_label() == label)
    return [(round(float(x), 3), float(y)) for x, y in np.asarray(made.get_offsets())]


def test_local_run_has_a_lane_per_slot_from_its_start_to_the_last_unit(tmp_path: Path) -> None:
    timeline = read(tmp_path, *local_run())
    assert [(lane.worker, lane.session, lane.node) for lane in timeline.lanes] == [
        ("slot_0", 0, ""),
        ("slot_1", 0, ""),
    ]
    assert [(lane.start, lane.end, lane.lost) for lane in timeline.lanes] == [(0, 10, None)] * 2
    assert spans(timeline.lanes[0]) == [(1, 0, 5)]
    assert spans(timeline.lanes[1]) == [(2, 1, 4), (3, 6, 10)]
    assert [bar.step for bar in timeline.lanes[1].bars] == [0, 10]
    assert (timeline.seconds, timeline.num_units, timeline.num_workers) == (10, 3, 2)
    assert timeline.busy == pytest.approx((5 + 3 + 4) / 20)


def test_what_a_worker_did_after_its_last_unit_is_not_known_until_the_run_has_finished(
    tmp_path: Path,
) -> None:
    idle = started("slot_2", 2)  # it has finished nothing yet
    timeline = read(tmp_path, *local_run(), idle, finished=False)
    assert [(lane.end, lane.known) for lane in timeline.lanes] == [(10, 5), (10, 10), (10, 2)]
    assert timeline.busy == pytest.approx(12 / 15)
    assert timeline.num_workers == 3
    (ground,) = (
        c for c in plot_timeline(timeline).axes[0].collections if c.get_label() == "waiting"
    )
    rights = [path.vertices[:, 0].max() for path in ground.get_paths()]
    assert rights == pytest.approx([5, 10, 2])
    timeline = read(tmp_path, *local_run(), idle)
    assert [lane.known for lane in timeline.lanes] == [10, 10, 10]
    assert timeline.busy == pytest.approx(12 / 28)
    timeline = read(tmp_path, *local_run(), *local_run(100))  # the first session was broken off
    assert [lane.known for lane in timeline.lanes] == [5, 10, 20, 20]


def test_key_reaches_the_last_block_before_that_was_trained(tmp_path: Path) -> None:
    begun = event("run_started", 0, steps={str(t): 0 for t in range(1, 9)} | {"x": 1})
    figure = plot_timeline(read(tmp_path, begun, unit("w0", 2, 0, 4), finished=False))
    assert figure.axes[1].get_yticks()[-1] == 8
    assert figure.axes[1].get_ylim() == (0.5, 8.5)


def test_lost_worker_ends_its_lane_and_another_begins_one(tmp_path: Path) -> None:
    timeline = read(
        tmp_path,
        event("run_started", 0),
        started("w1", 1, host="here"),
        started("w0", 2, host="here"),
        unit("w1", 1, 1, 3),
        lost("w1", 6, 1.5),
        started("w2", 9, host="here"),
        unit("w0", 2, 2, 10),
        unit("w2", 1, 9, 2),
        lost("w3", 11, 0),  # before it started
    )
    w0, w1, w2 = timeline.lanes
    assert (w0.worker, w0.start, w0.end, w0.lost, w0.node) == ("w0", 2, 12, None, "here")
    assert (w1.start, w1.end, w1.lost, w1.lost_seconds) == (1, 6, "killed", 1.5)
    assert (w2.start, w2.end, w2.lost, spans(w2)) == (9, 12, None, [(1, 9, 11)])
    assert timeline.num_workers == 2
    assert timeline.busy == pytest.approx((10 + 3 + 2) / (10 + 5 + 3))


def test_pauses_between_sessions_are_cut_out(tmp_path: Path) -> None:
    timeline = read(tmp_path, *local_run(), event("run_started", 50), *local_run(100))
    assert timeline.pauses == ((10, 90),)
    assert timeline.seconds == 20
    assert [(lane.worker, lane.session, lane.start, lane.end) for lane in timeline.lanes] == [
        ("slot_0", 0, 0, 10),
        ("slot_1", 0, 0, 10),
        ("slot_0", 1, 10, 20),
        ("slot_1", 1, 10, 20),
    ]
    assert spans(timeline.lanes[3]) == [(2, 11, 14), (3, 16, 20)]
    assert timeline.num_workers == 2


def test_lines_that_are_torn_or_strange_are_passed_over(tmp_path: Path) -> None:
    expected = read(tmp_path, *local_run())
    strange: list[Any] = [
        event("round_closed", 5, epoch=1),
        event("checkpoint", 99, warnings=["x"]),
        event("unit", 99, block=1),
        {**unit("slot_0", 1, 90, 5), "started": "soon"},
        {**unit("slot_0", 1, 90, 5), "event": ["unit"]},
        ["unit"],
        3,
    ]
    lines = [json.dumps(e) for e in (*local_run(), *strange)]
    torn = [json.dumps(unit("slot_0", 1, 90, 5))[:-9], '{"event": "unit", "caf\xe9', ""]
    (tmp_path / "events.jsonl").write_bytes(
        "\n".join(lines[:2] + torn + lines[2:]).encode("latin1")
    )
    assert read_timeline(Store(tmp_path)) == expected


@pytest.mark.parametrize("content", [None, "", "\n", '{"event": "run_started", "time": 1}\n'])
def test_log_without_units_makes_a_timeline_without_units(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "events.jsonl").write_text(content)
    assert read_timeline(Store(tmp_path)) == Timeline()
    assert Timeline().num_units == Timeline().num_workers == 0
    assert Timeline().busy == 0


def test_log_in_an_object_store_is_read() -> None:
    store = Store("mock:///bucket/run")
    assert read_timeline(store) == Timeline()
    for e in local_run():
        fields = {k: v for k, v in e.items() if k not in ("time", "event")}
        EventLog(store).write(e["event"], **fields)
    store.write("result.json", b"{}")
    assert read_timeline(store).num_units == 3


def test_units_at_once_share_the_height_of_their_lane(tmp_path: Path) -> None:
    units = [unit("w0", 1, 0, 4), unit("w0", 2, 0.5, 2), unit("w0", 3, 2.5, 1.5)]
    timeline = read(tmp_path, started("w0", 0), *units)
    (lane,) = timeline.lanes
    assert (lane.depth, [bar.level for bar in lane.bars]) == (2, [0, 1, 1])
    assert timeline.busy == pytest.approx(7.5 / 8)
    y = {block: y for block, _, _, y in drawn_bars(plot_timeline(timeline))}
    assert y[1] < y[2] == y[3]


def test_spares_are_neither_workers_nor_idle(tmp_path: Path) -> None:
    spare = [started("s1", 0, spare=True), unit("s1", 2, 4, 1)]
    timeline = read(tmp_path, started("w0", 0, spare=False), unit("w0", 1, 0, 10), *spare)
    assert (timeline.num_workers, timeline.busy, timeline.num_units) == (1, 1, 2)
    assert labels(plot_timeline(timeline)) == ["w0", "spare s1"]


def test_picture_shows_every_unit_in_the_row_of_its_worker(tmp_path: Path) -> None:
    figure = plot_timeline(read(tmp_path, *local_run()))
    assert sorted(drawn_bars(figure)) == [(1, 0, 5, 0), (2, 1, 4, 1), (3, 6, 10, 1)]
    axes, colour_bar = figure.axes
    assert labels(figure) == ["slot_0", "slot_1"]
    assert axes.get_title("left") == "2 workers, 60 % busy"
    assert axes.get_xlabel() == "seconds since the start"
    assert axes.get_xlim() == (0, 10)
    assert colour_bar.get_ylabel() == "block t"
    assert list(colour_bar.get_yticks()) == [1, 2, 3]
    assert legend(figure) == {"waiting"}
    image = picture(figure, tmp_path)
    colours = image.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    large = {colour for count, colour in colours if count > 2000}
    assert len(large) >= 5  # paper, ground and three blocks


def test_picture_marks_losses_and_replacements_in_one_row(tmp_path: Path) -> None:
    timeline = read(
        tmp_path,
        started("w0", 0),
        started("w1", 0),
        unit("w0", 1, 0, 20),
        unit("w1", 2, 0, 4),
        lost("w1", 6, 1),
        started("w2", 9),
        unit("w2", 2, 9, 3),
        lost("w2", 14, 0),  # it had nothing to do
        started("w3", 15),
        event("set_aside", 18, block=2, step=10, reason="NaN"),
    )
    figure = plot_timeline(timeline)
    assert labels(figure) == ["w0", "w1 \u2192 w2 \u2192 w3"]
    assert marks(figure, "worker lost") == [(6, 1), (14, 1)]
    assert marks(figure, "new worker") == [(9, 1), (15, 1)]
    assert [x for x, _ in marks(figure, "block set aside")] == [18]
    (lost_units,) = (c for c in figure.axes[0].collections if c.get_label() == "lost unit")
    assert [path.vertices[:, 0].tolist()[:2] for path in lost_units.get_paths()] == [[5, 6]]
    assert [text.get_text().strip() for text in figure.axes[0].texts] == ["block 2"]
    assert figure.axes[0].get_title("left") == "2 workers, 2 lost, 75 % busy"
    picture(figure, tmp_path)


def test_resumed_workers_go_on_in_their_rows_behind_a_line(tmp_path: Path) -> None:
    figure = plot_timeline(read(tmp_path, *local_run(), *local_run(310), *local_run(325)))
    assert labels(figure) == ["slot_0", "slot_1"]
    assert {(block, y) for block, _, _, y in drawn_bars(figure)} == {(1, 0), (2, 1), (3, 1)}
    lines = figure.axes[0].get_lines()
    assert [line.get_xdata()[0] for line in lines] == [10, 20]
    said = [text.get_text().strip() for text in figure.axes[0].texts]
    assert said == ["stopped for 5 min", "stopped for 5 s"]
    assert "pauses left out" in figure.axes[0].get_xlabel()
    picture(figure, tmp_path)


def test_rows_are_grouped_by_node_where_there_are_several(tmp_path: Path) -> None:
    nodes = {"a" * 56: "left", "b" * 56: "right", "c" * 56: "right", "d" * 56: None}
    events = []
    for i, (node, host) in enumerate(nodes.items()):
        for name in (f"w{i}", f"w{i + 10}"):
            events += [started(name, 0, node, host=host), unit(name, 1, 1, 1)]
    events += [lost("w1", 3, 0), started("w20", 4, "a" * 56, host="left"), unit("w20", 1, 4, 1)]
    figure = plot_timeline(read(tmp_path, *events))
    headings = [text.get_text() for text in figure.axes[0].texts]
    assert headings == ["left", "right bbbbbbbb", "right cccccccc", "node dddddddd"]
    # A worker does not take over the row of one on another node.
    assert labels(figure) == ["w0", "w10", "w20", "w1", "w11", "w2", "w12", "w3", "w13"]
    assert figure.axes[0].get_title("left").startswith("8 workers on 4 nodes, 1 lost, ")
    picture(figure, tmp_path)


def test_one_node_that_restarts_with_every_session_needs_no_heading(tmp_path: Path) -> None:
    events = []
    for session, node in enumerate(("a" * 56, "b" * 56)):
        at = 100.0 * session
        events += [event("run_started", at), started("w0", at, node, host="here")]
        events.append(unit("w0", 1, at, 5))
    figure = plot_timeline(read(tmp_path, *events))
    assert labels(figure) == ["w0"]
    assert figure.axes[0].get_title("left") == "1 worker, 100 % busy"


@pytest.mark.parametrize(
    ("workers", "num_units", "blocks"),
    [(1, 1, 1), (1, 20_000, 10), (64, 20_000, 100), (200, 400, 1000)],
)
def test_picture_is_made_of_few_parts_and_no_larger_than_a_poster(
    tmp_path: Path, workers: int, num_units: int, blocks: int
) -> None:
    per_worker = num_units // workers
    events = [started(f"w{i}", 0, str(i % 3) * 56) for i in range(workers)]
    for i in range(num_units):
        worker, rank = divmod(i, per_worker)
        events.append(unit(f"w{worker % workers}", 1 + i % blocks, 4.0 * rank, 3.9))
    figure = plot_timeline(read(tmp_path, *events))
    assert len(drawn_bars(figure)) == num_units
    assert len(figure.axes[0].collections) == 2
    assert figure.get_size_inches()[1] < 42
    assert figure.axes[1].get_yticks()[-1] == min(blocks, num_units)
    picture(figure, tmp_path)


def test_drawing_leaves_pyplot_alone_and_importing_is_light(tmp_path: Path) -> None:
    read(tmp_path, *local_run())
    code = (
        "import sys\n"
        "from noprop_dist.draw import units_on_workers\n"
        "from noprop_dist.record import timeline\n"
        "from noprop_dist.record.store import Store\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"units_on_workers.plot_timeline(timeline.read_timeline(Store({str(tmp_path)!r})))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_evaluations_count_as_work_and_not_as_units(tmp_path: Path) -> None:
    about = {"epoch": 1, "rows": 9, "started": T0 + 4, "seconds": 4.0, "worker": "w0"}
    evaluation = event("evaluation", 8, **about)
    timeline = read(tmp_path, started("w0", 0), unit("w0", 1, 0, 4), evaluation)
    assert timeline.num_units == 1
    assert timeline.busy == pytest.approx(1, abs=0.01)
    assert legend(plot_timeline(timeline)) == {"waiting", "evaluation"}

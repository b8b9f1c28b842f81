"""The units of a run as a trace that chrome://tracing and ui.perfetto.dev open."""

import json
from collections.abc import Iterator
from typing import Any

from noprop_dist.errors import UserError
from noprop_dist.record.store import Store, above, inside
from noprop_dist.record.timeline import Lane, Timeline, read_timeline
from noprop_dist.run_files import TRACE

Event = dict[str, Any]


def write_trace(run: str, output: str | None = None) -> str:
    """Write the trace of a run.

    Args:
        run: its folder, or the URI of one.
        output: the file; None is ``trace.json`` in the run folder.

    Returns:
        The file.

    Raises:
        UserError: the run has no units, or the file cannot be written.
    """
    timeline = read_timeline(Store(run))
    if not timeline.lanes:
        raise UserError(f"{run} has no unit to trace: give the folder of a run that has begun.")
    parent, name = above(output) if output else (run, TRACE)
    trace = {"traceEvents": list(trace_events(timeline)), "displayTimeUnit": "ms"}
    Store(parent or ".", "--output").write(name, json.dumps(trace).encode())
    return output or inside(run, TRACE)


def trace_events(timeline: Timeline) -> Iterator[Event]:
    """A process for every node in every session, a thread for every unit at once of a worker."""
    places: dict[tuple[int, str], int] = {}
    thread = 0
    for lane in timeline.lanes:
        place = (lane.session, lane.node)
        if place not in places:
            places[place] = len(places) + 1
            told = f"session {lane.session + 1}, {lane.node or 'this machine'}"
            yield _name("process_name", told, places[place], 0)
        yield from _of_lane(lane, places[place], thread)
        thread += lane.depth
    for time, block in timeline.set_aside:
        yield _moment(f"block {block} is set aside", time, 1, 0, scope="g")


def _of_lane(lane: Lane, process: int, thread: int) -> Iterator[Event]:
    for level in range(lane.depth):
        more = f", {level + 1}" if level else ""
        yield _name("thread_name", f"{lane.worker}{more}", process, thread + level)
    for bar in lane.bars:
        yield {
            "name": f"block {bar.block}" if bar.block else "evaluation",
            "cat": "training" if bar.block else "evaluation",
            "ph": "X",  # a complete event; times are in microseconds
            "ts": 1e6 * bar.start,
            "dur": 1e6 * (bar.end - bar.start),
            "pid": process,
            "tid": thread + bar.level,
            "args": {"step": bar.step} if bar.block else {},
        }
    if lane.lost is not None:
        yield _moment(f"lost: {lane.lost}", lane.end, process, thread, scope="t")


def _name(kind: str, name: str, process: int, thread: int) -> Event:
    return {"name": kind, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}


def _moment(name: str, time: float, process: int, thread: int, scope: str) -> Event:
    return {"name": name, "ph": "i", "ts": 1e6 * time, "pid": process, "tid": thread, "s": scope}

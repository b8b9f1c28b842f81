"""Which worker trained which block when, from the log of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from noprop_dist.record.events import WORK, read_events
from noprop_dist.record.history import MOST_BLOCKS
from noprop_dist.record.store import Store
from noprop_dist.run_files import RESULT

NUMBER = (int, float)
FIELDS: dict[str, dict[str, Any]] = {  # of the events that are read here
    "run_started": {"time": NUMBER},
    "worker_started": {"time": NUMBER, "worker": str, "node_id": str},
    "worker_lost": {"time": NUMBER, "worker": str, "reason": str},
    "set_aside": {"time": NUMBER, "block": int},
    "unit": {"block": int, "step": int, "started": NUMBER, "seconds": NUMBER, "worker": str},
    "evaluation": {"started": NUMBER, "seconds": NUMBER, "worker": str},
}


@dataclass(frozen=True)
class Bar:
    """A unit: a block, from ``step`` on, and when; ``level`` > 0 beside others of its worker.

    Block 0 is an evaluation.
    """

    block: int
    step: int
    start: float
    end: float
    level: int = 0


@dataclass(frozen=True)
class Lane:
    """A worker, in one session.

    Attributes:
        worker: its name, which another session may use again.
        session: 0, 1, ...; a resumed run has several.
        node: where it ran; empty where the log does not say.
        start: when it was ready.
        end: when it was lost, or the session was last heard of.
        known: up to when the log tells what it did: its end or, in a session that did not end by
            itself, that of its last unit, since what it did then is logged when it is done.
        bars: its units, in time.
        depth: how many of them there were at once.
        spare: whether it only stands in for others.
        lost: why it was lost, or None.
        lost_seconds: what it had spent by then on units that it did not finish.
    """

    worker: str
    session: int
    node: str
    start: float
    end: float
    known: float
    bars: tuple[Bar, ...]
    depth: int = 1
    spare: bool = False
    lost: str | None = None
    lost_seconds: float = 0.0


@dataclass(frozen=True)
class Timeline:
    """The units of a run. Every time is in seconds since its start, without the pauses.

    Attributes:
        lanes: by session and name.
        pauses: between sessions, as (time, seconds that are cut out there).
        set_aside: when blocks were given up, as (time, block).
        seconds: length of the axis.
        num_blocks: T, 0 where the log does not say.
    """

    lanes: tuple[Lane, ...] = ()
    pauses: tuple[tuple[float, float], ...] = ()
    set_aside: tuple[tuple[float, int], ...] = ()
    seconds: float = 0.0
    num_blocks: int = 0

    @property
    def num_units(self) -> int:
        """Training units of all lanes."""
        return sum(bar.block > 0 for lane in self.lanes for bar in lane.bars)

    @property
    def num_workers(self) -> int:
        """The most there were at one time, without spares."""
        lanes = [lane for lane in self.lanes if not lane.spare]
        return max((sum(o.start <= lane.start < o.end for o in lanes) for lane in lanes), default=0)

    @property
    def nodes(self) -> set[str]:
        """Where there were workers, as far as the log says."""
        return {lane.node for lane in self.lanes} - {""}

    @property
    def busy(self) -> float:
        """Share of the workers' time, as far as it is known, that went into finished units.

        Spares are left out.
        """
        lanes = [lane for lane in self.lanes if not lane.spare]
        whole = sum(lane.depth * (lane.known - lane.start) for lane in lanes)
        spent = sum(bar.end - bar.start for lane in lanes for bar in lane.bars)
        return min(1.0, spent / max(whole, 1e-9))


def read_timeline(store: Store) -> Timeline:
    """The timeline of a run folder; without units where its log is missing or holds none.

    Raises:
        UserError: the log is there and cannot be read.
    """
    lanes: list[Lane] = []
    pauses: list[tuple[float, float]] = []
    set_aside: list[tuple[float, int]] = []
    axis, stopped, num_blocks = 0.0, None, 0
    ended = store.exists(RESULT)  # before the log is read: a run may finish meanwhile
    sessions = _sessions(read_events(store))
    for session, events in enumerate(sessions):
        start, end = min(e["start"] for e in events), max(e["end"] for e in events)
        if stopped is not None:
            pauses.append((axis, max(0.0, start - stopped)))
        shift, stopped, axis = axis - start, end, axis + end - start
        lanes += _lanes(session, events, shift, ended=ended and session == len(sessions) - 1)
        num_blocks = max(num_blocks, *(_num_blocks(e.get("steps")) for e in events))
        set_aside += [(e["time"] + shift, e["block"]) for e in events if e["event"] == "set_aside"]
    return Timeline(tuple(lanes), tuple(pauses), tuple(set_aside), axis, num_blocks)


def _sessions(events: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Events with ``start`` and ``end``, by session; without sessions that had no worker."""
    sessions: list[list[dict[str, Any]]] = [[]]
    for event in events:
        fields = FIELDS.get(str(event.get("event")))
        if fields and all(isinstance(event.get(name), kind) for name, kind in fields.items()):
            if event["event"] == "run_started":  # names of workers begin again
                sessions.append([])
            start = event.get("started", event.get("time"))
            end = start + event["seconds"] if event["event"] in WORK else start
            sessions[-1].append(event | {"start": start, "end": end})
    return [s for s in sessions if any(e["event"] in (*WORK, "worker_started") for e in s)]


def _num_blocks(steps: Any) -> int:
    """The last of the blocks that a session began with; 0 where it does not say."""
    named = [t for t in steps if t.isdecimal() and len(t) < 6] if isinstance(steps, dict) else []
    return min(MOST_BLOCKS, max(map(int, named), default=0))


def _lanes(session: int, events: list[dict[str, Any]], shift: float, *, ended: bool) -> list[Lane]:
    """Lanes by name, w2 before w10, then spares; a worker lost before it started has none."""
    first, last = min(e["start"] for e in events), max(e["end"] for e in events)
    started = {e["worker"]: e for e in events if e["event"] == "worker_started"}
    lost = {e["worker"]: e for e in events if e["event"] == "worker_lost"}
    hosts = {e["node_id"]: e.get("host") for e in started.values()}
    units: dict[str, list[dict[str, Any]]] = {worker: [] for worker in started}
    for event in events:
        if event["event"] in WORK:
            units.setdefault(event["worker"], []).append(event)
    lanes = []
    for worker, own in units.items():
        begun, gone = started.get(worker, {}), lost.get(worker, {})
        bars = _bars(own, shift)
        start, end = (found + shift for found in (begun.get("start", first), gone.get("end", last)))
        lane = Lane(
            worker,
            session,
            node=_node_name(begun["node_id"], hosts) if begun else "",
            start=start,
            end=end,
            known=end if ended or gone else max((bar.end for bar in bars), default=start),
            bars=bars,
            depth=1 + max((bar.level for bar in bars), default=0),
            spare=begun.get("spare", False),
            lost=gone.get("reason"),
            lost_seconds=gone.get("seconds", 0.0),
        )
        lanes.append(lane)
    return sorted(lanes, key=lambda lane: (lane.spare, len(lane.worker), lane.worker))


def _bars(units: Sequence[dict[str, Any]], shift: float) -> tuple[Bar, ...]:
    bars: list[Bar] = []
    ends: list[float] = []  # by level
    for unit in sorted(units, key=lambda unit: unit["start"]):
        free = (level for level, end in enumerate(ends) if end < unit["start"] + 0.001)
        level = next(free, len(ends))
        ends[level : level + 1] = [unit["end"]]
        start, end = unit["start"] + shift, unit["end"] + shift
        bars.append(Bar(unit.get("block", 0), unit.get("step", 0), start, end, level))
    return tuple(bars)


def _node_name(node_id: str, hosts: dict[str, Any]) -> str:
    """The host, with a part of the node's id where it has no name or several nodes."""
    host = hosts[node_id]
    alone = list(hosts.values()).count(host) == 1
    return str(host) if host and alone else f"{host or 'node'} {node_id[:8]}"

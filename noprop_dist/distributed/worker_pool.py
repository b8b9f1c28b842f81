"""The workers of a run: who there is, who may work, who is to be started and who is given up."""

import time
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from noprop_dist.distributed.cluster import WorkerNeeds, count_slots
from noprop_dist.distributed.worker_client import WorkerClient
from noprop_dist.distributed.worker_status import Place
from noprop_dist.engine.evaluate import EvalUnit
from noprop_dist.engine.runner import Work
from noprop_dist.engine.unit import Unit

STUCK_S = 60.0  # without a step, before a worker is taken for dead; at least ...
STUCK_STEPS = 20  # ... so many times the slowest step; and ...
STUCK_SLOW_S = 300.0  # ... this while it starts, evaluates, or no step has been timed
MOST_WAIT_S = 32.0  # between a failed start and the next


@dataclass(eq=False)
class Task:
    """Work handed in.

    Attributes:
        work: what it is.
        errors: how often it failed.
        deaths: how often its worker died.
        began_at: when it was handed out last.
    """

    work: Work
    errors: int = 0
    deaths: int = 0
    began_at: float = 0.0


@dataclass(eq=False)
class PoolWorker:
    """A worker as the executor sees it.

    Attributes:
        actor: its handle.
        name: what people read.
        ready: the call that answers once it has started, or None after that.
        spare_on: the node whose dead workers it stands in for, or None for one of the regulars.
        place: where it is, once it has started.
        tasks: by call, what it does.
        status_call: the call that asks for its status.
        steps: that it had taken by its last status.
        asked_at: when its status was asked for last.
        changed_at: when it was asked to start, ``steps`` changed, or a task began.
        held: by t, the step of each snapshot that it has.
        leaving: it or its node was told to end: it gets no more work.
    """

    actor: Any
    name: str
    ready: Any
    spare_on: str | None = None
    place: Place | None = None
    tasks: dict[Any, Task] = field(default_factory=dict)
    status_call: Any = None
    steps: int = -1
    asked_at: float = 0.0
    changed_at: float = field(default_factory=time.monotonic)
    held: dict[int, int] = field(default_factory=dict)
    leaving: bool = False

    @property
    def calls(self) -> list[Any]:
        """What it has still to answer."""
        return [c for c in (self.ready, *self.tasks, self.status_call) if c is not None]

    @property
    def is_spare(self) -> bool:
        """Whether it works only in the place of another."""
        return self.spare_on is not None

    @property
    def evaluates(self) -> bool:
        """Whether it has an evaluation to do, whose batches take longer than steps."""
        return any(isinstance(task.work, EvalUnit) for task in self.tasks.values())


class WorkerPool:
    """Regular workers take the devices of the cluster. Spares take nothing and wait.

    No more workers of a node are ever at work than regular ones were ready there at once: a spare
    works from the death of a regular until the replacement is ready and the spare's unit has ended.

    Args:
        client: starts workers.
        needs: what a regular asks of the cluster.
        limit: most regulars.
        spares: per node.
        units_at_once: units that a worker runs at once.
        own: so many workers are enough for every block to stay with one.
    """

    def __init__(
        self,
        client: WorkerClient,
        needs: WorkerNeeds,
        *,
        limit: int,
        spares: int,
        units_at_once: int,
        own: bool,
    ) -> None:
        self._client, self._needs, self._own = client, needs, own
        self._limit, self._spares, self._units_at_once = limit, spares, units_at_once
        self._most_at_work: Counter[str] = Counter()
        self._last_worker: dict[int, PoolWorker] = {}  # by t, who had the block last
        self._num_started = self.failed_starts = 0
        self._not_before = 0.0
        self.workers: list[PoolWorker] = []

    def ready(self, *, spare: bool) -> list[PoolWorker]:
        """The regulars, or the spares, that have started."""
        return [m for m in self.workers if m.place is not None and m.is_spare == spare]

    @property
    def is_settled(self) -> bool:
        """Whether every block has a worker of its own, which it stays with."""
        return self._own and len(self.ready(spare=False)) >= self._limit

    @property
    def capacity(self) -> int:
        """Units that can run at once now."""
        staying = [m.place for m in self.workers if m.place is not None and not m.leaving]
        here = Counter(place.node_id for place in staying)
        return self._units_at_once * sum(
            min(n, self._most_at_work[node]) for node, n in here.items()
        )

    def start_missing(self) -> None:
        """Start workers for devices that are free, and spares once every regular is ready."""
        if time.monotonic() < self._not_before:
            return
        wanted = min(self._limit, count_slots(self._needs))
        regulars = sum(not m.is_spare for m in self.workers)
        for _ in range(wanted - regulars):
            self._start(None)
        ready = Counter(m.place.node_id for m in self.ready(spare=False) if m.place is not None)
        if ready.total() < wanted:
            return
        self._most_at_work = ready
        there = Counter(m.spare_on for m in self.workers)
        for node in ready:
            for _ in range(self._spares - there[node]):
                self._start(node)

    def _start(self, spare_on: str | None) -> None:
        name = f"{'w' if spare_on is None else 's'}{self._num_started}"
        self._num_started += 1
        actor = self._client.start(self._needs, spare_on)
        self.workers.append(PoolWorker(actor, name, actor.place.remote(), spare_on))

    def admit(self, worker: PoolWorker, place: Place) -> None:
        """A worker has started."""
        worker.ready, worker.place = None, place
        self.failed_starts = 0
        if not worker.is_spare:
            node = place.node_id
            ready = sum(m.place.node_id == node for m in self.ready(spare=False) if m.place)
            self._most_at_work[node] = max(self._most_at_work[node], ready)

    def choose(self, work: Work) -> PoolWorker | None:
        """Who should do the work: who has the block, else who has the fewest; regulars first.

        None where nobody is free, or where the block waits for its own worker.
        """
        at_work = Counter(m.place.node_id for m in self.workers if m.tasks and m.place)
        waiting = {m.place.node_id for m in self.ready(spare=False) if m.place and not m.tasks}

        def is_free(worker: PoolWorker) -> bool:
            full = len(worker.tasks) >= self._units_at_once
            if worker.place is None or worker.leaving or full:
                return False
            node = worker.place.node_id
            if at_work[node] < self._most_at_work[node]:
                return True
            # More for one that is at work, unless it is a spare whose place a regular waits for.
            return bool(worker.tasks) and not (worker.is_spare and node in waiting)

        def has_block(worker: PoolWorker) -> bool:
            if not isinstance(work, Unit):
                return False
            return worker.held.get(work.snapshot.t) == work.snapshot.step

        def cost(worker: PoolWorker) -> tuple[bool, bool, int, int]:
            return worker.is_spare, not has_block(worker), len(worker.tasks), len(worker.held)

        if not isinstance(work, Unit):
            return min(filter(is_free, self.workers), key=cost, default=None)
        t = work.snapshot.t
        asked = self._asked(t) if self.is_settled else self.workers
        chosen = min(filter(is_free, asked), key=cost, default=None)
        if chosen is not None:
            self._last_worker[t] = chosen
        return chosen

    def _asked(self, t: int) -> list[PoolWorker]:
        """Where every block stays with a worker of its own: who may have block t.

        Whoever had it last, and while that one has more blocks than it trains at once, those that
        have fewer: it took over some when there were fewer workers.
        """
        last = self._last_worker.get(t)
        if last not in self.workers or last.is_spare or last.leaving:
            return self.workers
        kept = Counter(self._last_worker.values())
        if kept[last] <= self._units_at_once:
            return [last]
        return [last, *(m for m in self.ready(spare=False) if kept[m] < self._units_at_once)]

    def start_failed(self) -> None:
        """A worker died before it was ready: the next one waits a little, and longer each time."""
        self.failed_starts += 1
        self._not_before = time.monotonic() + min(2.0**self.failed_starts, MOST_WAIT_S) - 2

    def told_to_leave(self, nodes: Container[str]) -> list[PoolWorker]:
        """Workers of nodes that will be gone soon, each once: from now on they get no work."""
        told = [m for m in self.workers if m.place and m.place.node_id in nodes and not m.leaving]
        for worker in told:
            worker.leaving = True
        return told

    def stuck(self, now: float, step_s: float | None) -> list[PoolWorker]:
        """Workers that start, or have a task, and have shown no progress for too long."""

        def patience(worker: PoolWorker) -> float:
            usual = STUCK_STEPS * (step_s or 0)
            slow = step_s is None or worker.place is None or worker.evaluates
            return max(STUCK_SLOW_S if slow else STUCK_S, usual)

        return [
            m
            for m in self.workers
            if (m.tasks or m.place is None) and now - m.changed_at > patience(m)
        ]

    def forgive(self, now: float) -> None:
        """Nobody has been asked for a while: no worker is to blame for that."""
        for worker in self.workers:
            worker.changed_at = now

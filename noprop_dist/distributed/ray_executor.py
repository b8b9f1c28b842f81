"""Runs units on the workers of a Ray cluster: hands them out, and out again when a worker dies."""

import time
from collections import deque
from typing import Any, Self

import ray
from ray.exceptions import RayError, RayTaskError

from noprop_dist.distributed.cluster import WorkerNeeds, draining_nodes
from noprop_dist.distributed.worker_client import FETCH_S, LOST, WorkerClient
from noprop_dist.distributed.worker_listener import WorkerListener
from noprop_dist.distributed.worker_pool import PoolWorker, Task, WorkerPool
from noprop_dist.distributed.worker_status import (
    BlockMissingError,
    Place,
    WorkerLeavingError,
    WorkerStatus,
    hold,
)
from noprop_dist.engine.executor import Done
from noprop_dist.engine.runner import Work, WorkFailedError
from noprop_dist.engine.unit import Unit, UnitResult
from noprop_dist.errors import UserError

UNIT_S = 4.0  # what a death costs, against what sending a snapshot costs
TRIES = 3  # of a unit that fails, and of starting a worker, before it is given up
DEATHS = 10  # of workers in one unit, before it is given up: most are not its fault
TEND_S = 1.0  # between questions to workers and nodes
AWAY_S = 15.0  # without one: then this process was away, and no worker is late
NO_WORKER_S = 60.0  # without any worker, before and between warnings
ASKED = 64  # workers whose status is asked for in one go: that must not slow the coordinator


class RayExecutor:
    """See ``Executor``. Ray must be connected.

    Args:
        client: starts workers and speaks to them.
        needs: what a worker asks of the cluster.
        limit: most workers at once.
        spares: per node, workers that stand in for dead ones.
        units_at_once: units that a worker runs at once.
        own: so many workers are enough for every block to stay with one.
        listener: told what happens to workers and blocks.
    """

    def __init__(
        self,
        client: WorkerClient,
        needs: WorkerNeeds,
        *,
        limit: int,
        spares: int = 0,
        units_at_once: int = 1,
        own: bool = False,
        listener: WorkerListener | None = None,
    ) -> None:
        self.unit_s = UNIT_S
        self._client, self._listener = client, listener or WorkerListener()
        self._units_at_once = units_at_once
        self._pool = WorkerPool(
            client, needs, limit=limit, spares=spares, units_at_once=units_at_once, own=own
        )
        self._queue: deque[Task] = deque()
        self._over: list[Done] = []  # given up, or not begun before a stop
        self._step_s: float | None = None
        self._tended_at = -TEND_S
        self._had_worker_at = self._warned_at = time.monotonic()
        self._stopping = False
        self._tend()

    @property
    def capacity(self) -> int:
        """See ``Executor``; at least one, so that work waits here while workers start.

        Twice as much where blocks wait here for workers of their own, busy with an evaluation.
        """
        return max(1, self._pool.capacity * (2 if self._pool.is_settled else 1))

    @property
    def num_ready(self) -> int:
        """Workers that have started, spares not counted."""
        return len(self._pool.ready(spare=False))

    def wait_for_workers(self, count: int) -> None:
        """Return once so many have started; nothing must have been submitted."""
        while self.num_ready < count:
            self.wait(0.1)

    def submit(self, work: Work) -> None:
        """See ``Executor``."""
        self._queue.append(Task(work))
        self._dispatch()

    def wait(self, timeout_s: float) -> list[Done]:
        """See ``Executor``."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._tend()
            self._let_go()
            self._dispatch()
            calls = {call: worker for worker in self._pool.workers for call in worker.calls}
            left = max(0.0, deadline - time.monotonic())
            ended: list[Any] = []
            if calls:
                ended, _ = ray.wait(list(calls), num_returns=1, timeout=min(left, TEND_S))
            else:
                time.sleep(min(left, 0.1))
            if ended:  # whatever else has ended by now
                ended, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
            done = [d for call in ended if (d := self._take(calls[call], call)) is not None]
            done += self._over
            self._over = []
            if done or time.monotonic() >= deadline:
                return done

    def stop(self) -> None:
        """See ``Executor``."""
        self._stopping = True
        for task in [task for task in self._queue if isinstance(task.work, Unit)]:
            self._queue.remove(task)
            self._over.append(Done(task.work, None))
        for worker in self._pool.workers:
            worker.actor.stop.remote()

    def __enter__(self) -> Self:
        """See ``Executor``."""
        return self

    def __exit__(self, *error: object) -> None:
        """See ``Executor``."""
        self._listener.ended()
        for worker in self._pool.workers:
            ray.kill(worker.actor)
        self._pool.workers.clear()
        self._client.close()

    def _take(self, worker: PoolWorker, call: Any) -> Done | None:
        """What a call that has ended says; a worker that died says so in any of them."""
        if worker not in self._pool.workers:
            return None
        try:
            answer = ray.get(call, timeout=FETCH_S)
        except (RayTaskError, *LOST) as error:
            return self._take_error(worker, call, error)
        except RayError as error:  # of many kinds: killed, out of memory, its node is gone, ...
            self._lose(worker, str(error))
        else:
            if call is worker.ready:
                self._admit(worker, answer)
            elif call is worker.status_call:
                self._take_status(worker, answer)
            else:
                return self._take_result(worker, worker.tasks.pop(call), answer)
        return None

    def _admit(self, worker: PoolWorker, place: Place) -> None:
        self._pool.admit(worker, place)
        self._listener.worker_started(worker.name, place, spare=worker.is_spare)
        if self._stopping:
            worker.actor.stop.remote()

    def _take_status(self, worker: PoolWorker, status: WorkerStatus) -> None:
        worker.status_call = None
        if status.steps != worker.steps:
            worker.steps, worker.changed_at = status.steps, time.monotonic()
        assert worker.place is not None
        self._listener.status(worker.name, status)
        for progress in status.progress.values():
            self._listener.progress(progress, worker.name, worker.place.host)

    def _take_result(self, worker: PoolWorker, task: Task, answer: Any) -> Done:
        result = self._client.receive(task.work, answer)
        if isinstance(result, UnitResult) and isinstance(task.work, Unit):
            assert worker.place is not None
            self._listener.progress(result.progress, worker.name, worker.place.host)
            snapshot = result.snapshot
            self._listener.unit_done(snapshot.t)
            hold(worker.held, snapshot.t, snapshot.step, self._units_at_once)
            num_steps = max(1, snapshot.step - task.work.snapshot.step)
            self._step_s = max(self._step_s or 0.0, result.seconds / num_steps)
        return Done(task.work, result, worker=worker.name)

    def _take_error(self, worker: PoolWorker, call: Any, error: Exception) -> Done | None:
        cause = error.cause if isinstance(error, RayTaskError) else error
        reason = f"{type(cause).__name__}: {cause}"
        if isinstance(cause, LOST):
            self._client.mend()
            if call is worker.status_call:
                worker.status_call = None
                return None
        if call not in worker.tasks:
            self._lose(worker, reason)
            return None
        task = worker.tasks.pop(call)
        if isinstance(task.work, Unit):
            worker.held.pop(task.work.snapshot.t, None)
        if isinstance(cause, WorkFailedError):
            return Done(task.work, None, cause, worker.name)
        if isinstance(cause, BlockMissingError | WorkerLeavingError):
            worker.leaving |= isinstance(cause, WorkerLeavingError)
            self._queue.appendleft(task)
            return None
        task.errors += 1
        self._again(task, f"it failed {task.errors} times in a row, the last time with {reason}")
        if not isinstance(cause, LOST):
            # It may be the worker: a broken device fails every block. The next try is another's.
            self._lose(worker, reason)
        return None

    def _again(self, task: Task, reason: str) -> None:
        """Hand a unit out again, or give it up after a few tries."""
        if self._stopping and isinstance(task.work, Unit):
            self._over.append(Done(task.work, None))
        elif task.errors < TRIES and task.deaths < DEATHS:
            self._queue.appendleft(task)
        else:
            self._over.append(Done(task.work, None, WorkFailedError(reason)))

    def _lose(self, worker: PoolWorker, reason: str) -> None:
        """Forget a dead worker; its units go to others."""
        self._pool.workers.remove(worker)
        ray.kill(worker.actor)  # one that cannot be reached may be alive
        now = time.monotonic()
        lost = {
            task.work.snapshot.t: now - task.began_at
            for task in worker.tasks.values()
            if isinstance(task.work, Unit)
        }
        self._listener.worker_lost(
            worker.name, list(lost), reason.split("\n")[0], sum(lost.values())
        )
        if worker.place is None:
            self._pool.start_failed()
            if self._pool.failed_starts >= TRIES and not self._pool.capacity:
                # The end of a traceback, without the name of the exception.
                last = reason.strip().splitlines()[-1].rpartition("Error: ")[2].rstrip(".")
                raise UserError(f"no worker can be started ({last}).")
            self._client.mend()  # it may have died of what the object store has lost
        for task in worker.tasks.values():
            task.deaths += 1
            self._again(task, f"{task.deaths} workers died while they trained it")
        self._tended_at = min(self._tended_at, now - TEND_S)  # at once: starting takes seconds

    def _let_go(self) -> None:
        """End workers that were told to leave and have handed their work back."""
        for worker in [m for m in self._pool.workers if m.leaving and not m.tasks]:
            self._lose(worker, "it or its node was told to end")

    def _dispatch(self) -> None:
        free = self._pool.capacity - sum(len(m.tasks) for m in self._pool.workers)
        for task in list(self._queue):
            if free <= 0:
                return
            work = task.work
            worker = self._pool.choose(work)
            if worker is None:
                continue
            self._queue.remove(task)
            free -= 1
            held = isinstance(work, Unit) and (
                worker.held.pop(work.snapshot.t, None) == work.snapshot.step
            )
            worker.tasks[self._client.send(worker.actor, work, held=held)] = task
            task.began_at = worker.changed_at = time.monotonic()

    def _tend(self) -> None:
        """Now and then: start workers for free devices, give up the stuck, look at the others."""
        now = time.monotonic()
        if now - self._tended_at < TEND_S:
            return
        if now - self._tended_at > AWAY_S:
            self._pool.forgive(now)
        self._tended_at = now
        if self._queue or not self._stopping:
            self._pool.start_missing()
        if self._pool.capacity:
            self._had_worker_at = self._warned_at = now
        elif now - self._warned_at > NO_WORKER_S:
            self._warned_at = now
            self._listener.no_worker(now - self._had_worker_at)
        for worker in self._pool.told_to_leave(draining_nodes()):
            worker.actor.stop.remote()
        for worker in self._pool.stuck(now, self._step_s):
            self._lose(worker, "it has shown no progress for too long")
        # Idle ones too: their death shows in no other call.
        waiting = [m for m in self._pool.workers if m.place is not None and m.status_call is None]
        for worker in sorted(waiting, key=lambda m: m.asked_at)[:ASKED]:
            worker.status_call, worker.asked_at = worker.actor.status.remote(), now

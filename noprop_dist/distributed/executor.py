"""Runs units on the workers of a Ray cluster: hands them out, and out again when a worker dies."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Self

import ray
from ray.exceptions import RayActorError, RayTaskError

from noprop_dist.distributed.cluster import WorkerNeeds, count_slots
from noprop_dist.distributed.worker import (
    BlockMissingError,
    Look,
    Place,
    Worker,
    send_tensors_as_arrays,
)
from noprop_dist.engine.evaluate import EvalResult
from noprop_dist.engine.executor import Done, Work, WorkFailedError
from noprop_dist.engine.job import Job, Splits
from noprop_dist.engine.unit import Unit, UnitProgress, UnitResult
from noprop_dist.errors import UserError

UNIT_S = 4.0  # what a death costs, against what sending a snapshot costs
TRIES = 3  # of one unit, and of starting a worker, before it is given up
TEND_S = 1.0  # between looks at workers and nodes
STUCK_S = 60.0  # without a step, before a worker is taken for dead; at least ...
STUCK_STEPS = 20  # ... so many times the slowest step, and ...
STUCK_FIRST_S = 300.0  # ... this before any step has been timed
LOOKS = 64  # workers looked at in one go: looking must not slow the coordinator down
NETWORKS = 2  # assembled networks kept in the object store


@dataclass(eq=False)
class _Task:
    work: Work
    tries: int = 0


@dataclass(eq=False)
class _Worker:
    """A worker as the executor sees it.

    Attributes:
        actor: its handle.
        name: what people read.
        ready: the call that answers once it has started, or None after that.
        place: where it is, once it has started.
        task: what it does.
        running: the call that does it.
        look: the call that looks at it.
        steps: at the last look.
        looked_at: when the last look was asked for.
        changed_at: when ``steps`` changed or the task began.
        held: by t, the step of each snapshot that it has.
    """

    actor: Any
    name: str
    ready: Any
    place: Place | None = None
    task: _Task | None = None
    running: Any = None
    look: Any = None
    steps: int = -1
    looked_at: float = 0.0
    changed_at: float = 0.0
    held: dict[int, int] = field(default_factory=dict)


class RayExecutor:
    """See ``Executor``. Ray must be connected; ``send_tensors_as_arrays`` is called here.

    Args:
        job: the run.
        splits: its data; put into the object store once.
        needs: what a worker asks of the cluster.
        limit: most workers at once, or None for as many as the cluster holds, up to T.
        on_progress: called with a worker's name when a look shows something new.
        on_event: called with a name and fields for ``events.jsonl``.
    """

    def __init__(
        self,
        job: Job,
        splits: Splits,
        needs: WorkerNeeds,
        *,
        limit: int | None = None,
        on_progress: Callable[[UnitProgress, str], None] = lambda *_: None,
        on_event: Callable[..., None] = lambda *_, **__: None,
    ) -> None:
        send_tensors_as_arrays()
        self.unit_s = UNIT_S
        self._needs, self._on_progress, self._on_event = needs, on_progress, on_event
        self._limit = min(job.spec.num_blocks, limit or job.spec.num_blocks)
        self._job, self._splits = ray.put(job), ray.put(splits)
        self._networks: dict[tuple[str, int], Any] = {}
        self._workers: list[_Worker] = []
        self._queue: deque[_Task] = deque()
        self._failed: list[Done] = []
        self._step_s: float | None = None
        self._num_started = self._failed_starts = 0
        self._tended_at = -TEND_S
        self._stopping = False
        self._tend()

    @property
    def capacity(self) -> int:
        """See ``Executor``; at least one, so that work waits here while workers start."""
        return max(1, self.num_ready)

    @property
    def num_ready(self) -> int:
        """Workers that have started."""
        return sum(w.place is not None for w in self._workers)

    def submit(self, work: Work) -> None:
        """See ``Executor``."""
        self._queue.append(_Task(work))
        self._dispatch()

    def wait(self, timeout_s: float) -> list[Done]:
        """See ``Executor``."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._tend()
            self._dispatch()
            calls = {ref: worker for worker in self._workers for ref in _calls(worker)}
            left = max(0.0, deadline - time.monotonic())
            ended: list[Any] = []
            if calls:
                ended, _ = ray.wait(list(calls), num_returns=1, timeout=min(left, TEND_S))
            else:
                time.sleep(min(left, 0.1))
            if ended:  # whatever else has ended by now
                ended, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
            done = [d for ref in ended if (d := self._take(calls[ref], ref)) is not None]
            done += self._failed
            self._failed = []
            if done or time.monotonic() >= deadline:
                return done

    def stop(self) -> None:
        """See ``Executor``."""
        self._stopping = True
        for worker in self._workers:
            worker.actor.stop.remote()

    def __enter__(self) -> Self:
        """See ``Executor``."""
        return self

    def __exit__(self, *error: object) -> None:
        """See ``Executor``."""
        for worker in self._workers:
            ray.kill(worker.actor)
        self._workers.clear()

    def _take(self, worker: _Worker, call: Any) -> Done | None:
        """What a call that has ended says; a worker that died says so in any of them."""
        if worker not in self._workers:
            return None
        try:
            answer = ray.get(call)
        except RayActorError as error:
            self._bury(worker, error)
            return None
        except RayTaskError as error:
            return self._take_error(worker, call, error)
        if call is worker.ready:
            worker.ready, worker.place = None, answer
            self._failed_starts = 0
            self._on_event("worker_started", worker=worker.name, **vars(answer))
        elif call is worker.look:
            self._take_look(worker, answer)
        else:
            return self._take_result(worker, answer)
        return None

    def _take_look(self, worker: _Worker, look: Look) -> None:
        worker.look = None
        if look.steps != worker.steps:
            worker.steps, worker.changed_at = look.steps, time.monotonic()
            if look.progress is not None:
                self._on_progress(look.progress, worker.name)

    def _take_result(self, worker: _Worker, result: UnitResult | EvalResult) -> Done:
        task = self._free(worker)
        if isinstance(result, UnitResult):
            self._on_progress(result.progress, worker.name)
            # Memory of our own: the object store's is for what is under way.
            snapshot = result.snapshot
            tensors = {k: v.clone() for k, v in snapshot.tensors.items()}
            result = replace(result, snapshot=replace(snapshot, tensors=tensors))
            worker.held[snapshot.t] = snapshot.step
            assert isinstance(task.work, Unit)
            num_steps = max(1, snapshot.step - task.work.snapshot.step)
            self._step_s = max(self._step_s or 0.0, result.seconds / num_steps)
        return Done(task.work, result, worker=worker.name)

    def _take_error(self, worker: _Worker, call: Any, error: RayTaskError) -> Done | None:
        if call is not worker.running:
            raise error  # a look cannot fail
        task, cause = self._free(worker), error.cause
        worker.held.clear()
        if isinstance(cause, WorkFailedError):
            return Done(task.work, None, cause, worker.name)
        if isinstance(cause, BlockMissingError):
            self._queue.appendleft(task)
            return None
        self._again(task, f"{type(cause).__name__}: {cause}", worker.name)
        return None

    def _free(self, worker: _Worker) -> _Task:
        task, worker.task, worker.running = worker.task, None, None
        assert task is not None
        return task

    def _again(self, task: _Task, reason: str, name: str) -> None:
        """Hand a unit out again, or give it up after a few tries."""
        task.tries += 1
        if task.tries < TRIES:
            self._queue.appendleft(task)
        else:
            text = f"it failed {TRIES} times in a row, the last time with {reason}"
            self._failed.append(Done(task.work, None, WorkFailedError(text), name))

    def _bury(self, worker: _Worker, error: RayActorError) -> None:
        """Forget a dead worker; its unit goes to another."""
        self._workers.remove(worker)
        reason = str(error).split("\n")[0]
        work = worker.task and worker.task.work
        block = work.snapshot.t if isinstance(work, Unit) else None
        self._on_event("worker_lost", worker=worker.name, block=block, reason=reason)
        if worker.place is None:
            self._failed_starts += 1
            if self._failed_starts >= TRIES:
                raise UserError(f"no worker can be started ({error}).")
        if worker.task is not None:
            self._again(worker.task, "the death of its worker", worker.name)
        self._tended_at = -TEND_S  # at once: the next one takes seconds to start

    def _dispatch(self) -> None:
        while self._queue and (worker := self._idle_worker(self._queue[0].work)) is not None:
            task = self._queue.popleft()
            worker.task, worker.changed_at = task, time.monotonic()
            worker.running = self._send(worker, task.work)

    def _idle_worker(self, work: Work) -> _Worker | None:
        """The best idle worker: the one that has the block, else one that has none."""
        idle = [w for w in self._workers if w.place is not None and w.task is None]
        if isinstance(work, Unit):
            t, step = work.snapshot.t, work.snapshot.step
            return min(idle, key=lambda w: (w.held.get(t) != step, len(w.held)), default=None)
        return idle[0] if idle else None

    def _send(self, worker: _Worker, work: Work) -> Any:
        if isinstance(work, Unit):
            snapshot = work.snapshot
            if worker.held.pop(snapshot.t, None) == snapshot.step:
                work = replace(work, snapshot=replace(snapshot, tensors={}))
            return worker.actor.train.remote(work)
        key = (work.split, work.tag)
        if key not in self._networks:
            self._networks[key] = ray.put((work.weights, work.shared))
            for old in list(self._networks)[:-NETWORKS]:
                del self._networks[old]
        return worker.actor.evaluate.remote(
            replace(work, weights={}, shared={}), self._networks[key]
        )

    def _tend(self) -> None:
        """Now and then: start workers for free devices, give up the stuck, look at the others."""
        now = time.monotonic()
        if now - self._tended_at < TEND_S:
            return
        self._tended_at = now
        wanted = min(self._limit, count_slots(self._needs))
        while len(self._workers) < wanted and not self._stopping:
            self._start_worker()
        self._bury_stuck(now)
        # Idle ones too: their death shows in no other call.
        waiting = [w for w in self._workers if w.place is not None and w.look is None]
        for worker in sorted(waiting, key=lambda w: w.looked_at)[:LOOKS]:
            worker.look, worker.looked_at = worker.actor.look.remote(), now

    def _bury_stuck(self, now: float) -> None:
        patience = STUCK_FIRST_S
        if self._step_s is not None:
            patience = max(STUCK_S, STUCK_STEPS * self._step_s)
        for worker in list(self._workers):
            if worker.task is not None and now - worker.changed_at > patience:
                ray.kill(worker.actor)
                self._bury(worker, RayActorError(error_msg=f"no step for {patience:.0f} s"))

    def _start_worker(self) -> None:
        name = f"w{self._num_started}"
        self._num_started += 1
        needs = self._needs
        actor = Worker.options(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            resources=needs.resources,
            max_concurrency=3,  # a unit, a look and a stop
        ).remote(self._job, self._splits, "auto" if needs.gpus else "cpu", int(needs.cpus))
        self._workers.append(_Worker(actor, name, actor.place.remote()))


def _calls(worker: _Worker) -> Iterator[Any]:
    """The calls that a worker has still to answer."""
    return (c for c in (worker.ready, worker.running, worker.look) if c is not None)

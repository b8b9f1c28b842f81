"""The executor's bookkeeping, without a cluster: workers that do what a test tells them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from noprop_dist import UserError
from noprop_dist.distributed import ray_executor as executor_module
from noprop_dist.distributed import worker_pool as pool_module
from noprop_dist.distributed.cluster import WorkerNeeds
from noprop_dist.distributed.ray_executor import RayExecutor
from noprop_dist.distributed.worker_listener import WorkerListener
from noprop_dist.distributed.worker_status import (
    BlockMissingError,
    Place,
    WorkerLeavingError,
    WorkerStatus,
)
from noprop_dist.engine.executor import Done
from noprop_dist.engine.snapshot import Snapshot
from noprop_dist.engine.unit import Unit, UnitProgress, UnitResult

DIED = RayActorError(error_msg="The actor died.")


@dataclass(eq=False)
class Call:
    """A call to a worker, and its answer once there is one."""

    kind: str
    actor: "Actor"
    work: Any = None
    answer: Any = None


class Actor:
    """Tells its status; starts and units only when it is told to."""

    def __init__(self, number: int, spare: bool) -> None:
        self.number, self.spare, self.steps = number, spare, 0
        self.calls: list[Call] = []
        self.dead = False

    def __getattr__(self, kind: str) -> Any:
        return type("Method", (), {"remote": lambda _: self.call(kind)})()

    def call(self, kind: str, work: Any = None) -> Call:
        made = Call(kind, self, work)
        if kind == "status":
            self.steps += 1
            made.answer = WorkerStatus(self.steps, {})
        self.calls.append(made)
        return made

    def start(self) -> None:
        for call in self.calls:
            if call.kind == "place" and call.answer is None:
                call.answer = Place("node", "host", self.number)

    def fail(self, error: Exception) -> None:
        """Every call that it has still to answer ends so."""
        for call in self.calls:
            call.answer = call.answer or error


@dataclass
class FakeRay:
    """What the executor uses of Ray."""

    killed: list[int] = field(default_factory=list)

    def wait(self, calls: list[Call], num_returns: int, timeout: float) -> Any:
        ended = [call for call in calls if call.answer is not None]
        if not ended:
            time.sleep(min(timeout, 0.001))
        return ended[:num_returns], []

    def get(self, call: Call, timeout: float) -> Any:
        if isinstance(call.answer, Exception):
            raise call.answer
        return call.answer

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor.number)


class FakeClient:
    """Remembers whom it started and what it sent."""

    def __init__(self) -> None:
        self.actors: list[Actor] = []
        self.sent: list[tuple[Call, bool]] = []
        self.on_send: Callable[[Call], None] = lambda _: None

    def start(self, needs: WorkerNeeds, spare_on: str | None) -> Actor:
        self.actors.append(Actor(len(self.actors), spare_on is not None))
        return self.actors[-1]

    def send(self, actor: Actor, work: Unit, *, held: bool) -> Call:
        call = actor.call("train", work)
        self.sent.append((call, held))
        self.on_send(call)
        return call

    def receive(self, work: Unit, answer: Any) -> Any:
        return answer

    def mend(self) -> None:
        pass

    def close(self) -> None:
        pass


class Rig:
    """An executor with such workers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slots: int, **options: Any) -> None:
        self.slots, self.ray, self.client = slots, FakeRay(), FakeClient()
        monkeypatch.setattr(executor_module, "ray", self.ray)
        monkeypatch.setattr(pool_module, "count_slots", lambda _: self.slots)
        self.draining: set[str] = set()
        monkeypatch.setattr(executor_module, "draining_nodes", lambda: self.draining)
        monkeypatch.setattr(executor_module, "TEND_S", 0.0)
        self.lost: list[tuple[str, list[int]]] = []
        listener = WorkerListener()
        listener.worker_lost = lambda name, blocks, *_: self.lost.append((name, blocks))  # type: ignore[method-assign]
        needs: Any = WorkerNeeds()
        options = {"limit": slots, "listener": listener} | options
        self.executor = RayExecutor(self.client, needs, **options)

    def start_all(self) -> None:
        for _ in range(3):  # spares come after the regulars
            for actor in self.client.actors:
                actor.start()
            self.wait()

    def wait(self, seconds: float = 0.01) -> list[Done]:
        return self.executor.wait(seconds)

    def running(self) -> list[Call]:
        return [call for call, _ in self.client.sent if call.answer is None]


def unit(t: int, step: int = 0) -> Unit:
    return Unit(Snapshot(t, step, {}), 10)


def trained(call: Call) -> None:
    snapshot = call.work.snapshot
    after = Snapshot(snapshot.t, snapshot.step + call.work.num_steps, {})
    progress = UnitProgress(after.t, after.step, 0.0, 0.0, 1.0)
    call.answer = UnitResult(after, progress, 10, 0.0, 1.0)


def failure(cause: Exception) -> RayTaskError:
    return RayTaskError("train", "traceback", cause)


@pytest.mark.parametrize("error", [DIED, OutOfMemoryError("the node is low on memory")])
def test_unit_of_a_worker_that_died_goes_to_another(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    rig = Rig(monkeypatch, 2)
    rig.start_all()
    rig.executor.submit(unit(1))
    (call,) = rig.running()
    call.actor.fail(error)
    rig.wait()
    assert rig.lost == [("w0", [1])]
    (again,) = rig.running()
    assert again.actor is not call.actor
    trained(again)
    (done,) = rig.wait(1)
    assert done.result is not None


def test_sick_worker_is_given_up_and_not_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that the first worker is given fails; the others are fine."""
    rig = Rig(monkeypatch, 3)
    rig.start_all()

    def answer(call: Call) -> None:
        if call.actor.number == 0:
            call.answer = failure(RuntimeError("CUDA error"))
        else:
            trained(call)

    rig.client.on_send = answer
    for t in range(1, 7):
        rig.executor.submit(unit(t))
    done: list[Done] = []
    for _ in range(20):
        done += rig.wait()
    assert sorted(d.work.snapshot.t for d in done if d.result is not None) == [1, 2, 3, 4, 5, 6]  # type: ignore[union-attr]
    assert rig.ray.killed == [0]


def test_unit_that_fails_everywhere_is_given_up_after_three_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch, 3)
    rig.start_all()
    rig.client.on_send = lambda call: setattr(call, "answer", failure(ValueError("bad")))
    rig.executor.submit(unit(2))
    done: list[Done] = []
    for _ in range(10):
        done += rig.wait()
    (only,) = done
    assert "it failed 3 times in a row, the last time with ValueError: bad" in str(only.error)


def test_deaths_are_forgiven_more_often_than_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, 1)
    rig.executor.submit(unit(1))
    for _ in range(9):
        rig.start_all()
        (call,) = rig.running()
        call.actor.fail(DIED)
        assert rig.wait() == []
    rig.start_all()
    rig.running()[0].actor.fail(DIED)
    (done,) = rig.wait(1)
    assert "10 workers died" in str(done.error)


def test_failed_starts_do_not_end_a_run_that_has_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node joins, and leaves before its workers are ready."""
    rig = Rig(monkeypatch, 2, limit=6)
    rig.start_all()
    rig.executor.submit(unit(1))
    rig.slots = 6
    rig.wait()
    assert len(rig.client.actors) == 6
    rig.slots = 2
    for actor in rig.client.actors[2:]:
        actor.fail(DIED)
    rig.wait(0.05)
    assert rig.executor.num_ready == 2
    assert len(rig.client.actors) == 6


def test_no_worker_that_starts_ends_the_run_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "MOST_WAIT_S", 0.0)
    rig = Rig(monkeypatch, 1)
    reason = RayActorError(error_msg="The actor died\n  in line 1\nRuntimeError: no such device.")

    def fail_and_wait() -> None:
        for _ in range(100):
            rig.client.actors[-1].fail(reason)
            rig.wait()

    with pytest.raises(UserError, match=r"^no worker can be started \(no such device\)\.$"):
        fail_and_wait()


def test_worker_without_progress_is_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, 2)
    rig.start_all()
    monkeypatch.setattr(pool_module, "STUCK_SLOW_S", 0.2)
    rig.executor.submit(unit(1))
    (call,) = rig.running()
    monkeypatch.setattr(call.actor, "call", lambda *_: Call("status", call.actor))
    for _ in range(100):
        rig.wait()
        if rig.lost:
            break
    assert rig.lost[0] == ("w0", [1])
    assert rig.running()[-1].actor is not call.actor


def test_nobody_is_blamed_while_this_process_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, 2)
    rig.start_all()
    for t in (1, 2):
        rig.executor.submit(unit(t))
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 1000)
    rig.wait()
    assert rig.lost == []
    assert rig.ray.killed == []


def test_what_a_worker_has_is_known_here_as_there(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, 1)
    rig.start_all()
    rig.client.on_send = trained
    for t in (1, 2, 3):
        rig.executor.submit(unit(t))
        rig.wait(1)
    for t in (1, 3):
        rig.executor.submit(unit(t, step=10))
        rig.wait(1)
    assert [held for _, held in rig.client.sent[3:]] == [False, True]
    rig.client.on_send = lambda call: setattr(call, "answer", failure(BlockMissingError("gone")))
    rig.executor.submit(unit(3, step=20))
    rig.client.on_send = trained
    (done,) = rig.wait(1)
    assert done.result is not None
    assert [held for _, held in rig.client.sent[5:]] == [True, False]


def test_worker_that_comes_late_gets_the_block_that_another_took_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Blocks stay with their workers once each can have its own, and not before."""
    rig = Rig(monkeypatch, 3, own=True)
    for t in (1, 2, 3):
        rig.executor.submit(unit(t))
    for actor in rig.client.actors[:2]:
        actor.start()

    def train_on(rounds: int) -> dict[int, set[int]]:
        """By t, who trained the block."""
        who: dict[int, set[int]] = {}
        for _ in range(rounds):
            for call in rig.running():
                trained(call)
            for done in rig.wait():
                assert isinstance(done.result, UnitResult)
                after = done.result.snapshot
                rig.executor.submit(unit(after.t, after.step))
            for call in rig.running():
                who.setdefault(call.work.snapshot.t, set()).add(call.actor.number)
        return who

    assert train_on(6).keys() == {1, 2, 3}  # by two
    rig.client.actors[2].start()
    train_on(3)
    settled = train_on(10)
    assert all(len(workers) == 1 for workers in settled.values())
    assert set.union(*settled.values()) == {0, 1, 2}


@pytest.mark.parametrize("units_at_once", [1, 2])
def test_spare_works_from_a_death_until_the_replacement_is_there(
    monkeypatch: pytest.MonkeyPatch, units_at_once: int
) -> None:
    rig = Rig(monkeypatch, 2, spares=1, units_at_once=units_at_once)
    rig.start_all()
    assert [actor.spare for actor in rig.client.actors] == [False, False, True]
    assert rig.executor.capacity == 2 * units_at_once
    number = iter(range(1, 1000))

    def fill() -> None:
        for _ in range(rig.executor.capacity - len(rig.running())):
            rig.executor.submit(unit(next(number)))

    def at_work() -> set[int]:
        return {call.actor.number for call in rig.running()}

    fill()
    assert at_work() == {0, 1}
    rig.client.actors[0].fail(DIED)
    rig.wait()
    rig.wait()
    assert at_work() == {1, 2}
    rig.start_all()
    for _ in range(8 * units_at_once):
        trained(rig.running()[0])
        rig.wait()
        fill()
        assert len(at_work()) <= 2
    assert at_work() == {1, 3}


def test_stop_gives_back_what_has_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, 1)
    rig.start_all()
    for t in (1, 2):
        rig.executor.submit(unit(t))
    rig.executor.stop()
    (waiting,) = rig.wait(1)
    assert (waiting.work.snapshot.t, waiting.result, waiting.error) == (2, None, None)  # type: ignore[union-attr]
    rig.running()[0].actor.fail(DIED)
    (lost,) = rig.wait(1)
    assert (lost.work.snapshot.t, lost.result, lost.error) == (1, None, None)  # type: ignore[union-attr]


def test_what_a_worker_that_leaves_hands_back_goes_on_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One says so when it gets work; of another the node is to end, while it has a unit."""
    rig = Rig(monkeypatch, 2)
    rig.start_all()
    rig.executor.submit(unit(1))
    (refused,) = rig.running()
    refused.answer = failure(WorkerLeavingError("it was told to end"))
    rig.wait()
    (call,) = rig.running()
    assert call.actor is not refused.actor
    assert rig.ray.killed == [refused.actor.number]
    rig.draining = {"node"}
    rig.wait()
    assert "stop" in [c.kind for c in call.actor.calls]
    assert call.actor.number not in rig.ray.killed
    trained(call)
    (done,) = rig.wait(1)
    rig.draining = set()
    rig.start_all()
    rig.executor.submit(unit(1, 10))
    (on,) = rig.running()
    assert done.result is not None
    assert on.actor.number not in rig.ray.killed
    assert call.actor.number in rig.ray.killed
    assert not any(blocks for _, blocks in rig.lost)

"""Workers that are timers, and what the meter reads of them."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from noprop_dist import UserError
from noprop_dist.benchmarks.benchmark_options import ScalingBenchmark
from noprop_dist.benchmarks.simulated import TimerExecutor, measure_simulated, render_simulated
from noprop_dist.benchmarks.utilisation import Busy, run_metered, tiny_rounds
from noprop_dist.engine.coordinator import Coordinator
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.runner import Work
from noprop_dist.engine.unit import Unit, UnitResult
from noprop_dist.record.events import EventLog
from noprop_dist.record.progress import Progress
from noprop_dist.record.run_record import Record
from noprop_dist.record.store import Store


def test_timer_ends_units_when_they_are_due_and_advances_their_blocks() -> None:
    rounds = tiny_rounds(2)
    executor = TimerExecutor(2, 0.2)
    units = [Unit(rounds.latest[t], 3) for t in (1, 2)]
    start = time.monotonic()
    executor.submit(units[0])
    time.sleep(0.1)
    executor.submit(units[1])
    assert executor.wait(0.01) == []
    for unit, due in zip(units, (0.2, 0.3), strict=True):
        (done,) = executor.wait(5)
        assert time.monotonic() - start >= due
        assert done.work is unit
        assert isinstance(done.result, UnitResult)
        assert done.result.snapshot.step == 3
        assert done.result.snapshot.tensors is unit.snapshot.tensors
        assert done.result.seconds == 0.2
    assert executor.wait(5) == []


def test_simulation_measures_every_unit_length() -> None:
    options = ScalingBenchmark(
        simulated_workers=20, simulated_blocks=30, unit_seconds=(0.1, 0.05), seconds=1
    )
    measured = measure_simulated(options)
    assert list(measured["by_unit_seconds"]) == ["0.1", "0.05"]
    for length, row in measured["by_unit_seconds"].items():
        assert 0.5 < row["share"] <= 1
        assert row["units_per_s"] == pytest.approx(20 / float(length), rel=0.5)
        assert 0 < row["coordinator_cpu_ms"] < 5
    assert len(render_simulated(measured)) == 4


def test_slow_coordinator_leaves_workers_without_work(monkeypatch: pytest.MonkeyPatch) -> None:
    write = EventLog.write

    def slow_write(self: EventLog, event: str, **fields: object) -> None:
        time.sleep(0.005)
        write(self, event, **fields)

    monkeypatch.setattr(EventLog, "write", slow_write)
    busy = run_metered(TimerExecutor(50, 0.1), 50, 50, 1)
    assert busy.share < 0.5  # 50 workers ask for 500 units a second, and get at most 200
    assert busy.units_per_s <= 205
    assert busy.coordinator_ms > 5


def test_coordinator_keeps_a_thousand_workers_busy() -> None:
    """With units of a second; a second try where other processes take the machine."""

    def measure() -> Busy:
        return run_metered(TimerExecutor(1000, 1.0), 1000, 1000, 3)

    assert any(measure().share > 0.95 for _ in range(2))


class _Watched(TimerExecutor):
    """Notes what was the least trained of the idle blocks when a unit was handed in."""

    def __init__(self, rounds: Rounds) -> None:
        super().__init__(3, 0.002)
        self.rounds = rounds
        self.steps: list[tuple[int, int]] = []

    def submit(self, work: Work) -> None:
        super().submit(work)
        assert isinstance(work, Unit)
        running = {unit.snapshot.t for _, _, _, unit in self._running} - {work.snapshot.t}
        idle = [s.step for t, s in self.rounds.latest.items() if t not in running]
        self.steps.append((work.snapshot.step, min(idle)))


@pytest.mark.parametrize("embedding_type", ["one-hot", "learned"])
def test_least_trained_block_comes_first(tmp_path: Path, embedding_type: str) -> None:
    rounds = tiny_rounds(7)
    job = rounds.job
    rounds.job = replace(job, config=replace(job.config, epochs=3, embedding_type=embedding_type))
    executor = _Watched(rounds)
    executor.unit_s = 0.0  # units of one step
    record = Record(Store(tmp_path), EventLog(Store(tmp_path)), Progress())
    assert Coordinator(rounds, executor, record, num_val=0).run()
    per_epoch = job.steps_per_epoch
    assert {s.step for s in rounds.latest.values()} == {3 * per_epoch}
    assert len(rounds.history.train_loss_history) == 3
    for step, least in executor.steps:
        assert step // per_epoch == least // per_epoch


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parts": ()}, "--parts needs at least one of workers, "),
        ({"unit_seconds": (1.0, 0.0)}, "a unit must take a positive number of seconds, got 0."),
        ({"simulated_workers": 3, "simulated_blocks": 2}, "--simulated-blocks 2 leaves some"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ScalingBenchmark(**changes).check()  # type: ignore[arg-type]

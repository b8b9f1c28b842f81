"""How busy a coordinator keeps its workers, whatever they are."""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

from noprop_dist.config import TrainConfig
from noprop_dist.data import Dataset, Split
from noprop_dist.engine.coordinator import Coordinator
from noprop_dist.engine.executor import Done, Executor
from noprop_dist.engine.job import Job, make_job
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.runner import Work
from noprop_dist.engine.snapshot import first_shared, first_snapshot
from noprop_dist.engine.splits import make_splits
from noprop_dist.engine.unit import Unit, UnitResult
from noprop_dist.maths.embedding import one_hot_embedding
from noprop_dist.record.events import EventLog
from noprop_dist.record.progress import Progress, UnitProgress
from noprop_dist.record.run_record import Record
from noprop_dist.record.store import Store

UNITS_PER_EPOCH = 10  # of a block: a round is closed and recorded as often
BATCH = 2


@dataclass(frozen=True)
class Busy:
    """What a meter read while every worker had something to do.

    Attributes:
        share: of the workers' time that lies inside units.
        units_per_s: that ended, of all workers.
        coordinator_ms: between two calls of the executor, summed, per unit.
        coordinator_cpu_ms: of it, what the coordinator's thread computed.
    """

    share: float
    units_per_s: float
    coordinator_ms: float
    coordinator_cpu_ms: float


class Meter:
    """An executor that passes everything on and reads the clock.

    It reads for some seconds from when every worker has begun a second unit: at the very start all
    of them ask at once. It then asks for the run to be stopped; what runs goes on to its end, so
    that it counts too.

    Args:
        executor: runs the units.
        workers: how many it has.
        seconds: how long to read.
    """

    def __init__(self, executor: Executor, workers: int, seconds: float) -> None:
        self.unit_s = 0.0  # units as short as can be: of one step, which takes what it takes
        self.on_read: Callable[[], None] = lambda: None
        self._executor, self._workers, self._seconds = executor, workers, seconds
        self._num_submitted = 0
        self._spans: list[tuple[float, float]] = []  # when units began and ended
        self._began = self._ended = math.inf
        self._outside_s = self._computed_s = 0.0  # between calls; of it in this thread
        self._left = self._now()

    @property
    def capacity(self) -> int:
        """See ``Executor``."""
        self._enter()
        capacity = self._executor.capacity
        self._left = self._now()
        return capacity

    def submit(self, work: Work) -> None:
        """See ``Executor``."""
        self._enter()
        self._executor.submit(work)
        self._left = self._now()
        self._num_submitted += 1
        if self._num_submitted == 2 * self._workers:
            self._began = self._left[0]
            self._outside_s = self._computed_s = 0.0

    def wait(self, timeout_s: float) -> list[Done]:
        """See ``Executor``."""
        self._enter()
        done = self._executor.wait(timeout_s)
        results = [d.result for d in done if isinstance(d.result, UnitResult)]
        self._spans += [(r.started, r.started + r.seconds) for r in results]
        self._left = self._now()
        if self._left[0] > self._began + self._seconds and self._ended == math.inf:
            self._ended = self._left[0]
            self.on_read()
        return done

    def _enter(self) -> None:
        if self._ended == math.inf:
            now, computed = self._now()
            self._outside_s += now - self._left[0]
            self._computed_s += computed - self._left[1]

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.time(), time.thread_time()

    def stop(self) -> None:
        """See ``Executor``."""
        self._executor.stop()

    def __enter__(self) -> Self:
        """See ``Executor``; the other is its maker's to leave."""
        return self

    def __exit__(self, *error: object) -> None:
        """See ``Executor``."""

    def read(self) -> Busy:
        """What was measured, once the run has ended."""
        assert self._ended < math.inf, "the run ended before the measurement"
        began, ended = np.array(self._spans).T
        inside = np.minimum(ended, self._ended) - np.maximum(began, self._began)
        seconds = self._ended - self._began
        units = max(1, int(((ended > self._began) & (ended <= self._ended)).sum()))
        return Busy(
            share=float(inside.clip(min=0).sum() / (self._workers * seconds)),
            units_per_s=units / seconds,
            coordinator_ms=1000 * self._outside_s / units,
            coordinator_cpu_ms=1000 * self._computed_s / units,
        )


def run_metered(executor: Executor, workers: int, num_blocks: int, seconds: float) -> Busy:
    """Let a coordinator drive T blocks on the executor, into a run folder that is then deleted.

    Args:
        executor: whose workers need not train: a block is a few numbers here.
        workers: how many it has.
        num_blocks: T, at least as many.
        seconds: to measure.
    """
    rounds = tiny_rounds(num_blocks)
    meter = Meter(executor, workers, seconds)
    with tempfile.TemporaryDirectory(prefix="noprop-benchmark-") as folder:
        store = Store(folder)
        record = Record(store, EventLog(store), Progress())
        coordinator = Coordinator(rounds, meter, record, num_val=0)
        meter.on_read = coordinator.request_stop
        coordinator.run()
    return meter.read()


def tiny_rounds(num_blocks: int) -> Rounds:
    """The state of a run whose blocks share tensors of one number each; named as real ones."""
    job = _tiny_job(num_blocks)
    rounds = Rounds(job, first_shared(one_hot_embedding(job.spec.num_classes)))
    real = first_snapshot(job, 1, rounds.shared)
    tensors = {k: v.reshape(-1)[:1].clone() for k, v in real.tensors.items()}
    tensors["tally"] = torch.ones(3, dtype=torch.float64)
    rounds.latest = {t: replace(real, t=t, tensors=tensors) for t in rounds.blocks}
    return rounds


def _tiny_job(num_blocks: int) -> Job:
    rows = np.arange(BATCH * UNITS_PER_EPOCH)
    split = Split.from_arrays(rows.repeat(4).reshape(-1, 4).astype(np.float32), rows % 2)
    dataset = Dataset("tiny", ("even", "odd"), split, split, photographs=False)
    config = TrainConfig(
        num_blocks=num_blocks, batch_size=BATCH, val_fraction=0.0, epochs=10**6, device="cpu"
    )
    return make_job(config, make_splits(config, dataset), torch.device("cpu"))


def advanced(unit: Unit, started: float, seconds: float) -> UnitResult:
    """The result of a unit that was not computed: the same tensors, some steps on."""
    step = unit.snapshot.step + unit.num_steps
    images = unit.num_steps * BATCH
    progress = UnitProgress(unit.snapshot.t, step, 1.0, 1.0, images / seconds)
    return UnitResult(replace(unit.snapshot, step=step), progress, images, started, seconds)

"""Who runs units. The coordinator knows this protocol and nothing of where units run."""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from typing import Protocol

import torch

from noprop_dist.engine.evaluate import EvalResult, EvalUnit, run_eval
from noprop_dist.engine.job import Job, Splits
from noprop_dist.engine.unit import Unit, UnitProgress, UnitResult, run_unit

Work = Unit | EvalUnit


@dataclass(frozen=True)
class Done:
    """Work that has ended, with its result or with what went wrong."""

    work: Work
    result: UnitResult | EvalResult | None
    error: BaseException | None = None


class Executor(Protocol):
    """Runs units somewhere."""

    @property
    def capacity(self) -> int:
        """How many units can run at once now; may change during a run."""

    def submit(self, work: Work) -> None:
        """Start work, or queue it when all slots are taken."""

    def wait(self, timeout_s: float) -> list[Done]:
        """Work that has ended since the last call; waits up to ``timeout_s`` for the first."""

    def stop(self) -> None:
        """Ask running training units to end at their next step; their results still come."""

    def close(self) -> None:
        """Stop, wait for what runs, and free everything."""


class LocalExecutor:
    """Runs units in threads of this process: one per slot, each with its own number of threads.

    PyTorch computes outside the interpreter lock, so slots run side by side. Two one-thread slots
    train more than one slot of two threads, since no operation then waits for its slower half.

    Args:
        job: the run.
        splits: its data.
        device: where every slot computes.
        slots: units at once.
        threads: CPU threads of one unit; part of what fixes the bits.
        on_progress: called from the slots' threads.
    """

    def __init__(
        self,
        job: Job,
        splits: Splits,
        device: torch.device,
        *,
        slots: int,
        threads: int,
        on_progress: Callable[[UnitProgress], None] = lambda _: None,
    ) -> None:
        self.capacity = slots
        self._job, self._splits, self._device = job, splits, device
        self._on_progress = on_progress
        self._stop = Event()
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(threads)
        # OpenMP keeps the number of threads per calling thread.
        self._pool = ThreadPoolExecutor(
            slots, "slot", initializer=torch.set_num_threads, initargs=(threads,)
        )
        self._running: dict[Future[UnitResult | EvalResult], Work] = {}

    def submit(self, work: Work) -> None:
        """See ``Executor``."""
        self._running[self._pool.submit(self._run, work)] = work

    def _run(self, work: Work) -> UnitResult | EvalResult:
        if isinstance(work, EvalUnit):
            split = getattr(self._splits, work.split)
            return run_eval(work, self._job, split, self._device)
        return run_unit(
            work,
            self._job,
            self._splits.train,
            self._device,
            on_progress=self._on_progress,
            should_stop=self._stop.is_set,
        )

    def wait(self, timeout_s: float) -> list[Done]:
        """See ``Executor``."""
        ended, _ = wait(self._running, timeout_s, FIRST_COMPLETED)
        # Submission order: what the coordinator does next must not depend on a set's order.
        done = []
        for future in [f for f in self._running if f in ended]:
            work, error = self._running.pop(future), future.exception()
            done.append(Done(work, None if error else future.result(), error))
        return done

    def stop(self) -> None:
        """See ``Executor``."""
        self._stop.set()

    def close(self) -> None:
        """See ``Executor``."""
        self.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(self._threads_before)

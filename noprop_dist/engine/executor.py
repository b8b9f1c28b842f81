"""Who runs units. The coordinator knows this protocol and nothing of where units run."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from typing import Protocol, Self

import torch

from noprop_dist.engine.evaluate import EvalResult, EvalUnit, run_eval
from noprop_dist.engine.job import Job, Splits
from noprop_dist.engine.live_block import NonFiniteLossError
from noprop_dist.engine.speed import Speed, SpeedUnit, run_speed
from noprop_dist.engine.unit import Unit, UnitProgress, UnitResult, run_unit

Work = Unit | EvalUnit | SpeedUnit
Result = UnitResult | EvalResult | Speed

WAIT_S = 0.2  # the longest wait before a look around: how soon a signal is noticed
UNIT_S = 60.0  # a unit in this process is lost with it: as rarely as checkpoints matter


@dataclass(frozen=True)
class Done:
    """Work that has ended, with its result or with what went wrong.

    Attributes:
        work: what was submitted.
        result: None where it failed, or was not begun before a stop.
        error: why it failed, as often as it may: a ``WorkFailedError``.
        worker: name of who ran it.
    """

    work: Work
    result: Result | None
    error: "WorkFailedError | None" = None
    worker: str = ""


class WorkFailedError(Exception):
    """Work that cannot be done: a loss that is not finite, no memory, too many dead workers.

    The message is a clause that says why, to follow the name of the block.
    """


def run_work(
    work: Work,
    job: Job,
    splits: Splits,
    device: torch.device,
    on_progress: Callable[[UnitProgress], None],
    should_stop: Callable[[], bool],
) -> Result:
    """Run a unit of any kind; arguments as for ``run_unit``."""
    if isinstance(work, EvalUnit):
        return run_eval(work, job, getattr(splits, work.split), device)
    if isinstance(work, SpeedUnit):
        return run_speed(work, job, splits.train, device)
    return run_unit(
        work, job, splits.train, device, on_progress=on_progress, should_stop=should_stop
    )


def explain(error: BaseException) -> str:
    """Why a block was lost, as a clause."""
    if isinstance(error, NonFiniteLossError):
        return (
            f"its loss became NaN or infinite at step {error.step}, most likely because the "
            "learning rate is too high: lower --lr or give --grad-clip 1"
        )
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return f"it ran out of memory ({error}): give a smaller --batch-size or fewer --workers"
    return f"{type(error).__name__}: {error}"


class Executor(Protocol):
    """Runs units somewhere.

    Attributes:
        unit_s: how long a unit should run, in seconds: what is lost when its worker dies.
    """

    unit_s: float

    @property
    def capacity(self) -> int:
        """How many units can run at once now; may change during a run."""

    def submit(self, work: Work) -> None:
        """Start work, or queue it when all slots are taken."""

    def wait(self, timeout_s: float) -> list[Done]:
        """Work that has ended since the last call; waits up to ``timeout_s`` for the first."""

    def stop(self) -> None:
        """Ask training units to end at their next step, or not to begin; they come back still.

        Evaluation goes on.
        """

    def __enter__(self) -> Self:
        """Nothing more: an executor is ready once it is made."""

    def __exit__(self, *error: object) -> None:
        """Stop, wait for what runs, and free everything."""


def run_all(executor: Executor, work: Sequence[Work]) -> list[Result]:
    """Run work on an executor that has nothing else to do; results in the order they came.

    Raises:
        WorkFailedError: some of it cannot be done.
    """
    for one in work:
        executor.submit(one)
    results: list[Result] = []
    while len(results) < len(work):
        for done in executor.wait(WAIT_S):
            if done.error is not None:
                raise done.error
            assert done.result is not None
            results.append(done.result)
    return results


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
        self.capacity, self.unit_s = slots, UNIT_S
        self._job, self._splits, self._device = job, splits, device
        self._on_progress = on_progress
        self._stop = Event()
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(threads)
        if device.type == "cuda":
            torch.backends.cudnn.deterministic = True  # one seed, one model
        # OpenMP keeps the number of threads per calling thread.
        self._pool = ThreadPoolExecutor(
            slots, "slot", initializer=torch.set_num_threads, initargs=(threads,)
        )
        self._running: dict[Future[Done], Work] = {}

    def submit(self, work: Work) -> None:
        """See ``Executor``."""
        self._running[self._pool.submit(self._run, work)] = work

    def _run(self, work: Work) -> Done:
        name = threading.current_thread().name
        try:
            result = run_work(
                work, self._job, self._splits, self._device, self._on_progress, self._stop.is_set
            )
        except (NonFiniteLossError, torch.OutOfMemoryError, MemoryError) as error:
            return Done(work, None, WorkFailedError(explain(error)), name)
        return Done(work, result, worker=name)

    def wait(self, timeout_s: float) -> list[Done]:
        """See ``Executor``."""
        ended, _ = wait(self._running, timeout_s, FIRST_COMPLETED)
        # Submission order: what the coordinator does next must not depend on a set's order.
        done = []
        for future in [f for f in self._running if f in ended]:
            del self._running[future]
            done.append(future.result())
        return done

    def stop(self) -> None:
        """See ``Executor``."""
        self._stop.set()

    def __enter__(self) -> Self:
        """See ``Executor``."""
        return self

    def __exit__(self, *error: object) -> None:
        """See ``Executor``."""
        self.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(self._threads_before)

"""Who runs units. The coordinator knows this protocol and nothing of where units run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, Self

import torch

from noprop_dist.config import TrainConfig
from noprop_dist.engine.evaluate import EvalResult, EvalUnit, run_eval
from noprop_dist.engine.job import Job
from noprop_dist.engine.live_block import NonFiniteLossError
from noprop_dist.engine.speed import Speed, SpeedUnit, run_speed
from noprop_dist.engine.splits import Splits
from noprop_dist.engine.unit import Unit, UnitProgress, UnitResult, run_unit
from noprop_dist.model.spec import ModelSpec
from noprop_dist.record.progress import Progress

Work = Unit | EvalUnit | SpeedUnit
Result = UnitResult | EvalResult | Speed

WAIT_S = 0.2  # the longest wait before a look around: how soon a signal is noticed


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
    """Run a unit of any kind; arguments as for ``run_unit``.

    Raises:
        WorkFailedError: a loss that is not finite, or no memory.
    """
    with failures_of_work():
        if isinstance(work, EvalUnit):
            return run_eval(work, job, getattr(splits, work.split), device)
        if isinstance(work, SpeedUnit):
            return run_speed(work, job, splits.train, device)
        return run_unit(
            work, job, splits.train, device, on_progress=on_progress, should_stop=should_stop
        )


@contextmanager
def failures_of_work() -> Iterator[None]:
    """What costs the work alone, and no worker: as many tries would end as this one.

    Raises:
        WorkFailedError: a loss that is not finite, or no memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, NonFiniteLossError) and not is_out_of_memory(error):
            raise
        raise WorkFailedError(explain(error)) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory, on a GPU or here: PyTorch has no type for the latter."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "DefaultCPUAllocator" in str(error)


def explain(error: BaseException) -> str:
    """Why a block was lost, as a clause."""
    if isinstance(error, NonFiniteLossError):
        return (
            f"its loss became NaN or infinite at step {error.step}, most likely because the "
            "learning rate is too high: lower --lr or give --grad-clip 1"
        )
    if is_out_of_memory(error):
        reason = str(error).strip().partition("\n")[0]
        return f"it ran out of memory ({reason}): give a smaller --batch-size or fewer --workers"
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


class Backend(Protocol):
    """Where a run's units run: what is known of it before there is a job.

    Attributes:
        device: that units compute on.
        precision: "fp32" or "bf16".
    """

    device: torch.device
    precision: str

    def executor(
        self, job: Job, splits: Splits, progress: Progress, on_event: Callable[..., None]
    ) -> AbstractContextManager[Executor]:
        """What runs the units; ``on_event`` is told of workers, for ``events.jsonl``."""

    def slots(self, config: TrainConfig) -> int:
        """How many units will run at once."""

    def memory(self, config: TrainConfig, spec: ModelSpec, data_bytes: int) -> tuple[int, int]:
        """What the run will take on the machine where memory is shortest, and what is free there.

        Raises:
            UserError: it is not enough; names what would be.
        """

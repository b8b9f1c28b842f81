"""Units in this process: a thread for each that runs at once."""

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from typing import Self

import torch
from typing_extensions import override

from noprop_dist.config import TrainConfig
from noprop_dist.engine.cost import Cost, Needs, blocks_that_fit, check_memory
from noprop_dist.engine.executor import Backend, Done, Executor
from noprop_dist.engine.job import Job
from noprop_dist.engine.runner import UnitRunner, Work, WorkFailedError
from noprop_dist.engine.splits import Splits
from noprop_dist.errors import UserError
from noprop_dist.host import count_cores, free_bytes
from noprop_dist.model.device import free_on, peak_on, resolve_device, resolve_precision
from noprop_dist.model.spec import ModelSpec
from noprop_dist.record.progress import Progress, UnitProgress

UNIT_S = 60.0  # a unit in this process is lost with it: as rarely as checkpoints matter


class LocalExecutor(Executor):
    """Runs units in threads of this process: one per slot, each with its own number of threads.

    PyTorch computes outside the interpreter lock, so slots run side by side. Two one-thread slots
    train more than one slot of two threads, since no operation then waits for its slower half.

    Args:
        job: the run.
        runner: runs its units.
        slots: units at once.
        on_progress: called from the slots' threads.
        at_end: called when the last unit has ended.
    """

    def __init__(
        self,
        job: Job,
        runner: UnitRunner,
        *,
        slots: int,
        on_progress: Callable[[UnitProgress], None] = lambda _: None,
        at_end: Callable[[], object] = lambda: None,
    ) -> None:
        self._slots, self.unit_s = slots, UNIT_S
        self._runner, self._on_progress, self._at_end = runner, on_progress, at_end
        self._stop = Event()
        self._threads_before = torch.get_num_threads()
        threads = job.config.cpus_per_worker
        torch.set_num_threads(threads)
        # OpenMP keeps the number of threads per calling thread.
        self._pool = ThreadPoolExecutor(
            slots, "slot", initializer=torch.set_num_threads, initargs=(threads,)
        )
        self._running: dict[Future[Done], Work] = {}

    @property
    @override
    def capacity(self) -> int:
        return self._slots

    @override
    def submit(self, work: Work) -> None:
        self._running[self._pool.submit(self._run, work)] = work

    def _run(self, work: Work) -> Done:
        name = threading.current_thread().name
        try:
            result = self._runner.run(work, self._on_progress, self._stop.is_set)
        except WorkFailedError as error:
            return Done(work, None, error, name)
        return Done(work, result, worker=name)

    @override
    def wait(self, timeout_s: float) -> list[Done]:
        ended, _ = wait(self._running, timeout_s, FIRST_COMPLETED)
        # Submission order: what the coordinator does next must not depend on a set's order.
        done = []
        for future in [f for f in self._running if f in ended]:
            del self._running[future]
            done.append(future.result())
        return done

    @override
    def stop(self) -> None:
        self._stop.set()

    @override
    def __enter__(self) -> Self:
        return self

    @override
    def __exit__(self, *error: object) -> None:
        self.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(self._threads_before)
        self._at_end()


@dataclass(frozen=True)
class LocalBackend(Backend):
    """This process."""

    device: torch.device
    precision: str

    @override
    def executor(
        self, job: Job, splits: Splits, progress: Progress, on_event: Callable[..., None]
    ) -> LocalExecutor:
        slots, most = self.slots(job.config, job.spec), self._most(job.config)
        if slots < most:
            progress.message(f"{slots} of {most} blocks at once: memory has no room for more")
        runner = UnitRunner(job, splits, self.device, at_once=slots, note=progress.message)

        def at_end() -> None:
            on_event("peak_memory", bytes=peak_on(self.device))

        told = progress.unit_progress
        return LocalExecutor(job, runner, slots=slots, on_progress=told, at_end=at_end)

    @override
    def slots(self, config: TrainConfig, spec: ModelSpec) -> int:
        most = self._most(config)
        if config.workers is not None:
            return most
        free, needs = self._room()
        return blocks_that_fit(config, spec, free, most, needs)

    def _most(self, config: TrainConfig) -> int:
        """How many units would run at once if memory had no bound."""
        blocks, cores = len(config.chosen), max(1, count_cores() // config.cpus_per_worker)
        return min(config.workers or (blocks if self.device.type == "cuda" else cores), blocks)

    def _room(self) -> tuple[int, Needs]:
        """The memory that is free where units compute, and what they take of it."""
        if self.device.type == "cuda":
            return free_on(self.device), Cost.on_gpu
        return free_bytes(), Cost.here

    @override
    def memory(self, config: TrainConfig, spec: ModelSpec, data_bytes: int) -> tuple[int, int]:
        free, needs = self._room()
        return check_memory(config, spec, free, self.slots(config, spec), needs), free


def local_backend(config: TrainConfig) -> LocalBackend:
    """This process, as the options say.

    Raises:
        UserError: there is no such device, or not so many cores.
    """
    if config.cpus_per_worker > count_cores():
        raise UserError(
            f"--cpus-per-worker {config.cpus_per_worker} is more than this machine's "
            f"{count_cores()} cores: give at most so many."
        )
    device = resolve_device(config.device)
    return LocalBackend(device, resolve_precision(config.precision, device))

"""What one process needs to run units: the data where they compute, and blocks that stay there."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch

from noprop_dist.data.feed import make_feed
from noprop_dist.engine.cuda_graph import record_graph
from noprop_dist.engine.evaluate import EvalResult, EvalUnit, run_eval
from noprop_dist.engine.job import Job
from noprop_dist.engine.live_block import LiveBlock, Recorder
from noprop_dist.engine.profiling import open_profiler
from noprop_dist.engine.speed import Speed, SpeedUnit, run_speed
from noprop_dist.engine.splits import Splits
from noprop_dist.engine.unit import NonFiniteLossError, Unit, UnitResult, train_live
from noprop_dist.model.device import new_stream, use_number_format
from noprop_dist.model.own_block import line_reached, named
from noprop_dist.record.progress import UnitProgress
from noprop_dist.text import first_line

Work = Unit | EvalUnit | SpeedUnit
Result = UnitResult | EvalResult | Speed


class WorkFailedError(Exception):
    """Work that cannot be done: no finite loss, no memory, own code, too many dead workers.

    The message is a clause that says why, to follow the name of the block.
    """


class UnitRunner:
    """Runs units of any kind on one device, as many at once as there are threads that ask.

    On a GPU a block stays there between its units, its step is recorded once, and where memory is
    short fewer blocks train at once. On a CPU a unit makes its block anew, which costs little and
    keeps no second copy.

    Args:
        job: the run.
        splits: its data.
        device: where to compute.
        at_once: units of training at once, at most.
        keep: blocks stay between units; None where the device is a GPU.
        recorder: records steps; None records CUDA graphs on a GPU unless the options say no.
        note: told in a line what a user should know.
    """

    def __init__(
        self,
        job: Job,
        splits: Splits,
        device: torch.device,
        *,
        at_once: int,
        keep: bool | None = None,
        recorder: Recorder | None = None,
        note: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._job, self._splits, self._device, self._note = job, splits, device, note
        on_gpu = device.type == "cuda"
        self._keep = on_gpu if keep is None else keep
        if recorder is None and on_gpu and job.config.cuda_graphs:
            recorder = partial(record_graph, note=note)
        self._recorder = recorder
        self._feed = make_feed(splits.train, device)
        self._kept: dict[int, LiveBlock] = {}
        self._lock = threading.Lock()
        self._turns = _Turns(at_once)
        self._of_thread = threading.local()
        use_number_format(job.precision, device)
        if job.config.profile:
            open_profiler()

    def run(
        self,
        work: Work,
        on_progress: Callable[[UnitProgress], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
        on_batch: Callable[[], object] = lambda: None,
    ) -> Result:
        """Run a unit of any kind.

        Args:
            work: what to do.
            on_progress: told every few steps of training.
            should_stop: asked after every step of training.
            on_batch: told of every batch that was evaluated.

        Raises:
            WorkFailedError: a loss that is not finite, no memory for even one block, or a block of
                the user's own failed.
        """
        with _failures_of_work(self._job.spec.block), self._stream():
            if isinstance(work, EvalUnit):
                split = getattr(self._splits, work.split)
                return run_eval(work, self._job, split, self._device, on_batch=on_batch)
            if isinstance(work, SpeedUnit):
                return run_speed(work, self._job, self._splits.train, self._device, self._recorder)
            while True:
                try:
                    with self._turns.turn():
                        return self._train(work, on_progress, should_stop)
                except (RuntimeError, MemoryError) as error:
                    if not _is_out_of_memory(error) or not self._turns.fewer():
                        raise
                self._forget()
                self._note(
                    f"memory is short on {self._device}: {self._turns.most} blocks at once from "
                    "now on"
                )

    def _train(
        self,
        unit: Unit,
        on_progress: Callable[[UnitProgress], None],
        should_stop: Callable[[], bool],
    ) -> UnitResult:
        t, rows = unit.snapshot.t, len(self._splits.train)
        with self._lock:
            live = self._kept.pop(t, None)
        learns = self._job.learns_embedding(unit.snapshot.step // self._job.steps_per_epoch)
        if live is None or (live.step, live.learns) != (unit.snapshot.step, learns):
            live = None  # free before the next one is made
            live = LiveBlock(self._job, unit.snapshot, self._device, recorder=self._recorder)
        done = train_live(
            live, unit, self._feed, rows, on_progress, should_stop, last=not self._keep
        )
        if self._device.type == "cuda":
            torch.cuda.current_stream().synchronize()  # the snapshot is read on other streams
        if self._keep:
            with self._lock:
                self._kept[t] = live
        return done

    def _forget(self) -> None:
        """Free the blocks that no unit trains now."""
        with self._lock:
            self._kept.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _stream(self) -> AbstractContextManager[object]:
        """On a GPU a stream for every thread: blocks then compute side by side."""
        if self._device.type != "cuda":
            return nullcontext()
        if not hasattr(self._of_thread, "stream"):
            self._of_thread.stream = new_stream(self._device)
        return torch.cuda.stream(self._of_thread.stream)


class _Turns:
    """Lets so many threads train at once; fewer from when memory was short."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._running = 0
        self._changed = threading.Condition()

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._running < self.most)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def fewer(self) -> bool:
        """Whether there can be fewer than now, and then there are."""
        with self._changed:
            if self.most == 1:
                return False
            self.most -= 1
            return True


@contextmanager
def _failures_of_work(block: str) -> Iterator[None]:
    """What costs the work alone, and no worker: as many tries would end as this one.

    Args:
        block: the name of the network's block.

    Raises:
        WorkFailedError: a loss that is not finite, no memory, or a block of the user's own failed.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, NonFiniteLossError) or _is_out_of_memory(error):
            raise WorkFailedError(explain(error)) from error
        # A broken GPU fails in whatever line comes next, and a package may lack on one node.
        of_machine = isinstance(error, ImportError) or "CUDA" in str(error)
        if not of_machine and (line := line_reached(block, error)):
            raise WorkFailedError(
                f"line {line} of {block.rpartition(':')[0]} failed ({named(error)})"
            ) from error
        raise


def _is_out_of_memory(error: BaseException) -> bool:
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
    if _is_out_of_memory(error):
        return (
            f"it ran out of memory ({first_line(error)}): give a smaller --batch-size or fewer "
            "--workers"
        )
    return f"{type(error).__name__}: {error}"

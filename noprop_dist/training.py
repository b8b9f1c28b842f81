"""From options to a trained network and its numbers: what the job and the Python door both call."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch

from noprop_dist.config import TrainConfig
from noprop_dist.data import load_dataset
from noprop_dist.engine.coordinator import Coordinator, Record, evaluate_test
from noprop_dist.engine.executor import Executor, LocalExecutor, WorkFailedError, run_all
from noprop_dist.engine.finish import finish
from noprop_dist.engine.job import Job, Splits, make_job
from noprop_dist.engine.resume import Start, check_same_options, start_afresh, start_or_resume
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.unit import Unit, UnitProgress
from noprop_dist.errors import UserError
from noprop_dist.model.device import resolve_device
from noprop_dist.record.events import EventLog
from noprop_dist.record.progress import Progress, make_progress, say
from noprop_dist.record.result import TrainResult
from noprop_dist.record.store import Store


class StoppedError(Exception):
    """The run was asked to stop; its state is in the run folder.

    Attributes:
        folder: the run folder.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder


def train(config: TrainConfig, *, shuffled_order: bool = False) -> TrainResult:
    """Train a NoProp network as ``config`` says; go on where an earlier call was stopped.

    Args:
        config: the options.
        shuffled_order: offer ready blocks in an order of chance. It changes no weight: a promise
            that tests keep.

    Raises:
        UserError: bad input, in one sentence.
        StoppedError: Ctrl-C or a termination signal while training; call again to go on.
        KeyboardInterrupt: such a signal at another time, or a second one; nothing is lost but what
            was trained since the last checkpoint.
    """
    store = Store(config.folder)
    finished = _finished_result(config, store)
    if finished is not None:
        return finished
    _check_places(config)
    with StopSignals() as signals:
        job, splits, device, num_skipped = _prepare(config)
        rounds, start = start_or_resume(job, splits, store)
        progress = make_progress(
            quiet=config.quiet,
            num_blocks=job.spec.num_blocks,
            total_epochs=config.epochs,
            steps_per_epoch=job.steps_per_epoch,
            first_step={t: s.step for t, s in rounds.latest.items()},
        )
        events = EventLog(store)
        with _executor(job, splits, device, progress, events.write) as executor, store.lock():
            record = Record(store, events, progress, config.history)
            with progress:
                if num_skipped:
                    progress.warn(f"left out {num_skipped} bad images of {config.dataset}")
                _begin(start, rounds, record)
                coordinator = Coordinator(rounds, executor, record, num_val=len(splits.val))
                if shuffled_order:
                    coordinator.order = lambda found: sorted(found, key=lambda _: random.random())
                with signals.asking(coordinator.request_stop):
                    trained = coordinator.run()
                if not trained:
                    raise StoppedError(store.root)
                rounds.latest.clear()  # optimiser state is most of the memory, and saved by now
                test = evaluate_test(rounds, executor, len(splits.test))
            return finish(rounds, test, splits, store, num_skipped)


def _check_places(config: TrainConfig) -> None:
    """Refuse places that cannot be written to before anything is read or trained."""
    Store(config.folder).check_writable()
    if config.history is not None:
        Store(Path(config.history).parent, "--history").check_writable()


def _begin(start: Start, rounds: Rounds, record: Record) -> None:
    """Write what can be written before the first step, so that a bad path costs no training."""
    config = rounds.job.config
    record.store.write("config.yaml", config.to_yaml().encode())
    record.write_history(rounds.history)
    for text in start.warnings:
        record.progress.warn(text)
    steps = {str(t): snapshot.step for t, snapshot in rounds.latest.items()}
    if start.checkpoint is not None:
        share = sum(steps.values()) / (rounds.job.total_steps * len(steps))
        record.progress.message(f"going on from {start.checkpoint}: {share:.0%} trained")
    record.events.write(
        "run_started", checkpoint=start.checkpoint, warnings=list(start.warnings), steps=steps
    )


def _prepare(config: TrainConfig) -> tuple[Job, Splits, torch.device, int]:
    """The job, its data, the device, and how many bad images were left out."""
    if config.executor == "ray":
        device = torch.device("cuda" if config.gpus_per_worker else "cpu")
    else:
        device = resolve_device("cpu" if config.no_cuda else config.device)
    if config.executor == "local" and config.cpus_per_worker > _cores():
        raise UserError(
            f"--cpus-per-worker {config.cpus_per_worker} is more than this machine's {_cores()} "
            "cores: give at most so many."
        )
    dataset = load_dataset(
        config.dataset,
        data_dir=config.data_dir,
        image_size=config.image_size,
        skip_bad_images=config.skip_bad_images,
        max_train_images=config.max_train_images,
        seed=config.seed,
    )
    job, splits = make_job(config, dataset, device)
    return job, splits, device, dataset.num_skipped


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _executor(
    job: Job,
    splits: Splits,
    device: torch.device,
    progress: Progress,
    on_event: Callable[..., None],
) -> AbstractContextManager[Executor]:
    config = job.config

    def on_progress(p: UnitProgress, worker: str = "") -> None:
        progress.unit_progress(p.t, p.step, p.loss, p.accuracy, p.images_per_s, worker)

    if config.executor == "ray":
        from noprop_dist.distributed.run import ray_executor

        def note(event: str, **about: Any) -> None:
            on_event(event, **about)
            if event == "worker_lost" and about["block"] is not None:
                progress.worker_lost(about["block"])

        return ray_executor(job, splits, on_progress=on_progress, on_event=note)
    threads = config.cpus_per_worker
    default = 1 if device.type == "cuda" else max(1, _cores() // threads)
    return LocalExecutor(
        job,
        splits,
        device,
        slots=min(config.workers or default, config.num_blocks),
        threads=threads,
        on_progress=on_progress,
    )


def _finished_result(config: TrainConfig, store: Store) -> TrainResult | None:
    """What an earlier call left, if it finished."""
    if not store.exists("result.json"):
        return None
    try:
        result = TrainResult.from_dict(json.loads(store.read("result.json")), store.root)
        check_same_options(config, result.config, store.root)
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UserError(
            f"{store.root}/result.json is not what a run writes ({error}): delete it, and the same "
            "command makes it again from the last checkpoint."
        ) from error
    if config.history is not None:
        path = Path(config.history)
        Store(path.parent, "--history").write(path.name, store.read("training_history.json"))
    if not config.quiet:
        say(f"{store.root} holds this run, finished: nothing to train")
    return result


class StopSignals:
    """Ctrl-C and SIGTERM as a request while somebody listens, else as a KeyboardInterrupt.

    The second signal is never a request. Outside the main thread signals are left alone.
    """

    def __init__(self) -> None:
        self._ask: Callable[[], None] | None = None
        self._before: dict[signal.Signals, Any] = {}

    @contextmanager
    def asking(self, ask: Callable[[], None]) -> Iterator[None]:
        """Call ``ask`` on a signal, once."""
        self._ask = ask
        self._install()  # again: connecting to Ray replaces the handler of SIGTERM
        try:
            yield
        finally:
            self._ask = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        ask, self._ask = self._ask, None
        if ask is None:
            raise KeyboardInterrupt
        ask()

    def __enter__(self) -> Self:
        """Take the signals over."""
        self._install()
        return self

    def _install(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.signal(number, self._handle)
                self._before.setdefault(number, before)

    def __exit__(self, *error: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def dry_run(config: TrainConfig) -> dict[str, Any]:
    """Check everything, train two steps of every block, and estimate the run; leave nothing behind.

    Raises:
        UserError: what a real run would refuse.
    """
    store = Store(config.folder)
    _check_places(config)
    job, splits, device, num_skipped = _prepare(config)
    rounds, start = start_or_resume(job, splits, store)
    with _executor(job, splits, device, Progress(), lambda *_, **__: None) as executor:
        seconds = _two_steps(start_afresh(job, splits), executor)
    trained = sum(snapshot.step for snapshot in rounds.latest.values())
    steps = job.total_steps * job.spec.num_blocks - trained
    return {
        "training_images": len(splits.train),
        "validation_images": len(splits.val),
        "test_images": len(splits.test),
        "skipped_images": num_skipped,
        "sample_shape": list(job.spec.sample_shape),
        "classes": job.spec.num_classes,
        "embedding_dim": job.spec.embed_dim,
        "block_parameters": sum(p.numel() for p in job.spec.make_block().parameters()),
        "block_snapshot_bytes": sum(v.nbytes for v in rounds.latest[1].tensors.values()),
        "goes_on_from": start.checkpoint,
        "steps": steps,
        "device": str(device),
        "precision": job.precision,
        "units_at_once": executor.capacity,
        "estimated_seconds": round(seconds * steps, 1),
    }


def _two_steps(rounds: Rounds, executor: Executor) -> float:
    """Train every block for two steps, twice: seconds per step of the second time."""
    num_steps = min(2, rounds.job.steps_per_epoch)
    units = [Unit(rounds.latest[t], num_steps) for t in rounds.blocks]
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        try:
            run_all(executor, units)
        except WorkFailedError as error:
            raise UserError(f"a block cannot be trained: {error}.") from error
        seconds = time.perf_counter() - start
    return seconds / (num_steps * len(units))

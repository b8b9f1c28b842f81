"""From options to a trained network and its numbers: what the job and the Python door both call."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy.typing as npt
import torch

from noprop_dist import faults
from noprop_dist.config import TrainConfig
from noprop_dist.data.sources import is_known
from noprop_dist.engine.coordinator import Coordinator
from noprop_dist.engine.executor import Backend
from noprop_dist.engine.finish import evaluate_test, finish
from noprop_dist.engine.job import Job, check_fit, make_job
from noprop_dist.engine.local import local_backend
from noprop_dist.engine.longer import after_a_shorter_run
from noprop_dist.engine.resume import (
    Start,
    finished_result,
    start_or_resume,
)
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.splits import Splits, load_splits
from noprop_dist.engine.watching import Callback, Metric, Watching
from noprop_dist.errors import UserError, needing_ray
from noprop_dist.model.registry import BLOCKS
from noprop_dist.record.events import EventLog
from noprop_dist.record.first_embedding import write_first_embedding
from noprop_dist.record.own_parts import NoiseSchedule, OwnParts, given_parts, write_own_parts
from noprop_dist.record.progress import make_progress, say
from noprop_dist.record.result import TrainResult
from noprop_dist.record.run_record import Record
from noprop_dist.record.store import Store
from noprop_dist.record.trackers import check_trackers, open_trackers
from noprop_dist.run_files import CONFIG, SWEEP, TRIAL
from noprop_dist.signals import StopSignals


class StoppedError(Exception):
    """The run was asked to stop; its state is in the run folder.

    Attributes:
        folder: the run folder.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder


def train(
    config: TrainConfig,
    *,
    noise_schedule: NoiseSchedule | None = None,
    class_embed: npt.ArrayLike | torch.Tensor | None = None,
    init_from: TrainResult | str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    metrics: Mapping[str, Metric] = MappingProxyType({}),
    backend: Backend | None = None,
) -> TrainResult:
    """Train a NoProp network as ``config`` says; go on where an earlier call was stopped.

    Args:
        config: the options.
        noise_schedule: alpha_bar of t = 0..T, rising inside (0, 1), or a function of t / T.
        class_embed: (K, D), class embeddings that stay as they are.
        init_from: a run, its folder or an exported file, whose weights to begin with.
        callbacks: told of epochs, checkpoints and the end; see ``Callback``.
        metrics: by name, functions of probabilities float32 (N, K) and labels int64 (N,), computed
            on the validation split after every epoch and on the test split at the end.
        backend: where units run, already open; None opens what ``config`` names.

    Raises:
        UserError: bad input, in one sentence.
        StoppedError: Ctrl-C or a termination signal while training; call again to go on.
        KeyboardInterrupt: such a signal at another time, or a second one; nothing is lost but what
            was trained since the last checkpoint.
    """
    watching = Watching(callbacks, metrics)
    if init_from is not None:
        place = init_from.folder if isinstance(init_from, TrainResult) else str(init_from)
        config = replace(config, init_from=place)
    check_places(config)
    config, own = given_parts(config, noise_schedule, class_embed)
    with StopSignals() as signals:
        config, splits = prepare(config, own)
        store = _own_store(config)
        finished = finished_result(config, splits, store)
        if finished is not None:
            return finished
        config = after_a_shorter_run(config, splits.hashes, store)
        opened = nullcontext(backend) if backend else open_backend(config, splits.nbytes)
        with opened as backend:
            result = _train_on(backend, config, splits, store, watching, signals)
    if not config.no_plots:
        _draw(result, splits)
    return result


def _own_store(config: TrainConfig) -> Store:
    """The run folder.

    Raises:
        UserError: it holds something else.
    """
    store = Store(config.folder)
    for name, what in ((SWEEP, "a sweep"), (TRIAL, "a trial of a sweep")):
        if store.exists(name):
            raise UserError(
                f"{store.root} holds {what}: give another --name or --checkpoint-dir for the run."
            )
    return store


def _train_on(
    backend: Backend,
    config: TrainConfig,
    splits: Splits,
    store: Store,
    watching: Watching,
    signals: StopSignals,
) -> TrainResult:
    """Find where the run begins, and train it with its folder locked."""
    job = job_on(backend, config, splits)
    faults.arm(job.faults)
    backend.memory(config, job.spec, splits.nbytes)
    begun = start_or_resume(job, splits, store)
    waited: list[str] = []

    def tell(text: str) -> None:
        waited.append(text)
        say(text)

    with store.lock(tell=tell):
        if waited:  # for another run, which may have gone on or finished meanwhile
            finished = finished_result(config, splits, store)
            if finished is not None:
                return finished
            begun = start_or_resume(job, splits, store)
        return _train(begun, splits, store, backend, watching, signals)


def _train(
    begun: tuple[Rounds, Start],
    splits: Splits,
    store: Store,
    backend: Backend,
    watching: Watching,
    signals: StopSignals,
) -> TrainResult:
    rounds, start = begun
    job, config = rounds.job, rounds.job.config
    progress = make_progress(
        quiet=config.quiet,
        num_blocks=job.spec.num_blocks,
        total_epochs=config.epochs,
        steps_per_epoch=job.steps_per_epoch,
        first_step={t: s.step for t, s in rounds.latest.items()},
    )
    events = EventLog(store)
    trackers = open_trackers(config, store, rounds.round, progress.warn)
    record = Record(store, events, progress, config.history, trackers)
    watching.begin(rounds, store.root, splits.val.labels)
    sent = replace(splits, own=OwnParts())  # what the run began with is no worker's business
    with trackers:
        with backend.executor(job, sent, progress, events.write) as executor, progress:
            if splits.num_skipped:
                progress.warn(f"left out {splits.num_skipped} bad images of {config.dataset}")
            begin(start, rounds, record, splits)
            num_val = len(splits.val)
            coordinator = Coordinator(rounds, executor, record, num_val=num_val, watching=watching)
            with signals.asking(coordinator.request_stop):
                trained = coordinator.run()
            if not trained:
                raise StoppedError(store.root)
            rounds.latest.clear()  # optimiser state is most of the memory, and saved by now
            progress.message(f"evaluating {len(splits.test):,} test images")
            test = evaluate_test(rounds, executor, len(splits.test))
        measured = watching.measured(test, splits.test.labels)
        result = finish(rounds, test, splits, store, measured)  # the workers are free by now
        trackers.result(result)
    watching.finished(result)
    return result


def _draw(result: TrainResult, splits: Splits) -> None:
    """Pictures and report; a finished run stays one, whatever happens here."""
    from noprop_dist.see.visualize import draw_run

    try:
        for sentence in draw_run(result.folder, test=splits.test).missing:
            say(sentence)
    except (Exception, KeyboardInterrupt) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        say(f"not all pictures are drawn ({why}); noprop visualize {result.folder} draws them")


def in_a_lasting_place(config: TrainConfig) -> TrainConfig:
    """In a submitted job relative paths of what is written lie in the home directory.

    The options are ``placed``.

    The working directory is Ray's temporary copy there, and is deleted some time after the job.
    """
    if "/runtime_resources/working_dir_files/" not in f"{Path.cwd()}/":
        return config
    paths = {"checkpoint_dir": config.folder, "history": config.history}
    lasting: dict[str, Any] = {
        name: str(Path.home() / path)
        for name, path in paths.items()
        if path is not None and "://" not in path
    }
    return replace(config, **lasting)


def check_places(config: TrainConfig, form: str = "{}") -> None:
    """Refuse what cannot be written to, before anything is read or trained.

    Args:
        config: the options.
        form: of a name that is made from them; see ``TrainConfig.placed``.

    Raises:
        UserError: such a place, or a tracker that is not installed.
    """
    check_trackers(config)
    placed = in_a_lasting_place(config.placed({}, form))
    Store(placed.folder).check_writable()
    _check_apart(config)
    if config.history is not None:
        Store(Path(config.history).parent, "--history").check_writable()


def _check_apart(config: TrainConfig) -> None:
    """Refuse a run folder that is the data's own: what a run writes would be data next time."""
    if is_known(config.dataset) or config.checkpoint_dir is None:
        return
    folder = Store(config.checkpoint_dir).local
    if folder is not None and folder.resolve() == Path(config.dataset).expanduser().resolve():
        raise UserError(
            f"--checkpoint-dir {config.checkpoint_dir} is the data itself: give another folder, or "
            "--name."
        )


def begin(start: Start, rounds: Rounds, record: Record, splits: Splits) -> None:
    """Write what can be written before the first step, so that a bad path costs no training."""
    config = rounds.job.config
    record.store.write(CONFIG, config.to_yaml().encode())
    record.write_history(rounds.history)
    if start.checkpoint is None and config.embedding_type == "prototype":
        write_first_embedding(record.store, rounds.shared["class_embed"])
    write_own_parts(record.store, splits.own)
    record.progress.message(f"data: {splits.told}")
    block = rounds.job.spec.block
    if config.block == "auto" and BLOCKS[block].note:
        record.progress.message(f"block: {block}, {BLOCKS[block].note}")
    for text in start.told:
        record.progress.message(text)
    for text in start.warnings:
        record.progress.warn(text)
    steps = {str(t): snapshot.step for t, snapshot in rounds.latest.items()}
    if start.checkpoint is not None:
        share = sum(steps.values()) / (rounds.job.total_steps * len(steps))
        record.progress.message(f"going on from {start.checkpoint}: {share:.0%} trained")
    record.events.write(
        "run_started",
        data=splits.told,
        checkpoint=start.checkpoint,
        warnings=list(start.warnings),
        steps=steps,
    )


def prepare(config: TrainConfig, own: OwnParts | None = None) -> tuple[TrainConfig, Splits]:
    """The options in their place, and the data that they name.

    Args:
        config: the options.
        own: what else the run begins with; None takes what the options say of it.

    Raises:
        UserError: the data is not there, or the options fit neither it nor this machine.
    """
    if config.executor == "local":
        local_backend(config)  # what is not on this machine is refused before data is read
    if own is None:
        config, own = given_parts(config)
    splits = replace(load_splits(config), own=own)
    check_fit(config, splits)
    return in_a_lasting_place(config.placed(splits.hashes)), splits


def job_on(backend: Backend, config: TrainConfig, splits: Splits) -> Job:
    """The run, as units compute it there."""
    armed = faults.from_environment()
    return make_job(config, splits, backend.device, backend.precision, armed)


def _here(config: TrainConfig, data_bytes: int) -> AbstractContextManager[Backend]:
    return nullcontext(local_backend(config))


def _on_ray(config: TrainConfig, data_bytes: int) -> AbstractContextManager[Backend]:
    with needing_ray(
        "Ray is not installed: install ray[default], or give --executor local to train in this "
        "process."
    ):
        from noprop_dist.distributed.ray_backend import ray_backend
    return ray_backend(config, data_bytes)


# By the value of --executor: the options and the bytes of the data -> where units run.
BACKENDS: dict[str, Callable[[TrainConfig, int], AbstractContextManager[Backend]]] = {
    "ray": _on_ray,
    "local": _here,
}


def open_backend(config: TrainConfig, data_bytes: int) -> AbstractContextManager[Backend]:
    """Where the units of a run compute.

    Raises:
        UserError: there are no such devices, or Ray is not installed.
    """
    return BACKENDS[config.executor](config, data_bytes)

"""From options to a trained network and its numbers: what the job and the Python door both call."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from noprop_dist import faults
from noprop_dist.config import TrainConfig
from noprop_dist.data.given import GIVEN, Given
from noprop_dist.engine.coordinator import Coordinator
from noprop_dist.engine.executor import Backend
from noprop_dist.engine.finish import evaluate_test, finish
from noprop_dist.engine.job import Job, check_fit, make_job
from noprop_dist.engine.local import local_backend
from noprop_dist.engine.resume import (
    Start,
    check_same_block,
    check_same_data,
    check_same_options,
    start_or_resume,
)
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.splits import Splits, load_splits
from noprop_dist.errors import UserError, needing_ray
from noprop_dist.model.own_block import is_own
from noprop_dist.model.registry import BLOCKS
from noprop_dist.record.checkpoint import sha256_of_tensors
from noprop_dist.record.events import EventLog
from noprop_dist.record.first_embedding import write_first_embedding
from noprop_dist.record.places import check_places, in_a_lasting_place
from noprop_dist.record.progress import make_progress, say
from noprop_dist.record.result import TrainResult, read_result
from noprop_dist.record.run_record import Record
from noprop_dist.record.store import Store
from noprop_dist.record.trackers import open_trackers
from noprop_dist.run_files import CONFIG, HISTORY, OWN_BLOCK, SWEEP, TRIAL
from noprop_dist.signals import StopSignals


class StoppedError(Exception):
    """The run was asked to stop; its state is in the run folder.

    Attributes:
        folder: the run folder.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder


@dataclass(frozen=True)
class TrainedBlocks:
    """Some blocks of a network, trained alone.

    Attributes:
        folder: the run folder, for ``merge``.
        block_sha256: by t, of the block's weights.
        train_seconds: wall time of training.
    """

    folder: str
    block_sha256: dict[str, str]
    train_seconds: float


def train(
    config: TrainConfig,
    *,
    data: Given | None = None,
    backend: Backend | None = None,
    block: str | None = None,
) -> TrainResult:
    """Train a NoProp network as ``config`` says; go on where an earlier call was stopped.

    Args:
        config: the options.
        data: (train, test) or (train, val, test), instead of the data set that ``config`` names: of
            each a tuple of samples and labels, NumPy arrays or tensors, or a map-style data set of
            (image or vector, label), or a Hugging Face ``Dataset``; see ``load_given``.
        backend: where units run, already open; None opens what ``config`` names.
        block: in the place of ``config.block``, "package.module:Class" or "path/file.py:Class" of a
            ``Block`` of one's own.

    Raises:
        UserError: bad input, in one sentence.
        StoppedError: Ctrl-C or a termination signal while training; call again to go on.
        KeyboardInterrupt: such a signal at another time, or a second one; nothing is lost but what
            was trained since the last checkpoint.
    """
    if config.blocks is not None:
        raise UserError("--blocks trains no whole network: call train_blocks, and merge after it.")
    result = _run(replace(config, block=block or config.block), backend, data)
    assert isinstance(result, TrainResult)
    return result


def train_blocks(
    config: TrainConfig, *, data: Given | None = None, backend: Backend | None = None
) -> TrainedBlocks:
    """Train the blocks of ``config.blocks`` alone, as ``train`` would among all of them.

    Nothing is evaluated: some blocks are no network. See ``merge``.

    Raises:
        UserError: bad input, in one sentence.
        StoppedError: as ``train``; KeyboardInterrupt too.
    """
    if config.blocks is None:
        raise UserError("--blocks names no block: give it, or call train for all of them.")
    trained = _run(config, backend, data)
    assert isinstance(trained, TrainedBlocks)
    return trained


def _run(
    config: TrainConfig, backend: Backend | None, data: Given | None
) -> TrainResult | TrainedBlocks:
    if data is not None:
        config = of_given_data(config)
    check_places(config)
    with StopSignals() as signals:
        config, splits = prepare(config, data)
        store = Store(config.folder)
        for name, what in ((SWEEP, "a sweep"), (TRIAL, "a trial of a sweep")):
            if store.exists(name):
                raise UserError(
                    f"{store.root} holds {what}: give another --name or --run-dir for the run."
                )
        finished = _finished_result(config, splits, store)
        if finished is not None:
            return finished
        opened = nullcontext(backend) if backend else open_backend(config, splits.nbytes)
        with opened as backend:
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
                    finished = _finished_result(config, splits, store)
                    if finished is not None:
                        return finished
                    begun = start_or_resume(job, splits, store)
                result = _train(begun, splits, store, backend, signals)
    if isinstance(result, TrainResult) and config.plots:
        _draw(config, result, splits)
    return result


def _train(
    begun: tuple[Rounds, Start],
    splits: Splits,
    store: Store,
    backend: Backend,
    signals: StopSignals,
) -> TrainResult | TrainedBlocks:
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
    with trackers:
        with backend.executor(job, splits, progress, events.write) as executor, progress:
            if splits.num_skipped:
                progress.warn(f"left out {splits.num_skipped} bad images of {config.dataset}")
            begin(start, rounds, record, splits)
            num_val = 0 if config.blocks is not None else len(splits.val)
            coordinator = Coordinator(rounds, executor, record, num_val=num_val)
            with signals.asking(coordinator.request_stop):
                trained = coordinator.run()
            if not trained:
                raise StoppedError(store.root)
            if config.blocks is not None:
                weights, _ = rounds.final()
                hashes = {str(t): sha256_of_tensors(weights[t]) for t in rounds.active}
                return TrainedBlocks(store.root, hashes, rounds.train_seconds)
            rounds.latest.clear()  # optimiser state is most of the memory, and saved by now
            progress.message(f"evaluating {len(splits.test):,} test images")
            test = evaluate_test(rounds, executor, len(splits.test))
        result = finish(rounds, test, splits, store)  # the workers are free by now
        trackers.result(result)
    return result


def _draw(config: TrainConfig, result: TrainResult, splits: Splits) -> None:
    """Pictures and report; a finished run stays one, whatever happens here."""
    from noprop_dist.see.visualize import draw_run

    try:
        own = config.block if is_own(config.block) else None
        for sentence in draw_run(result.folder, test=splits.test, block=own).missing:
            say(sentence)
    except (Exception, KeyboardInterrupt) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        say(f"not all pictures are drawn ({why}); noprop visualize {result.folder} draws them")


def of_given_data(config: TrainConfig) -> TrainConfig:
    """The options, which then say that their data was given in Python.

    Raises:
        UserError: they name another data set.
    """
    if config.dataset not in (TrainConfig().dataset, GIVEN):
        raise UserError(
            f"data is given to train(), and --dataset {config.dataset} names other data: leave one "
            "of them out."
        )
    return replace(config, dataset=GIVEN)


def begin(start: Start, rounds: Rounds, record: Record, splits: Splits) -> None:
    """Write what can be written before the first step, so that a bad path costs no training."""
    config = rounds.job.config
    record.store.write(CONFIG, config.to_yaml().encode())
    record.write_history(rounds.history)
    if start.checkpoint is None and config.embedding_type == "prototype":
        write_first_embedding(record.store, rounds.shared["class_embed"])
    record.progress.message(f"data: {splits.told}")
    spec = rounds.job.spec
    if config.block == "auto" and BLOCKS[spec.block].note:
        record.progress.message(f"block: {spec.block}, {BLOCKS[spec.block].note}")
    if spec.block_code is not None:
        record.store.write(OWN_BLOCK, spec.block_code.source.encode())
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


def prepare(config: TrainConfig, data: Given | None = None) -> tuple[TrainConfig, Splits]:
    """The options in their place, and the data that they name or that is given.

    Raises:
        UserError: the data is not there, or the options fit neither it nor this machine.
    """
    if config.executor == "local":
        local_backend(config)  # what is not on this machine is refused before data is read
    splits = load_splits(config, data)
    spec = check_fit(config, splits)
    return in_a_lasting_place(config.placed(splits.hashes | spec.block_hash)), splits


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


def _finished_result(config: TrainConfig, splits: Splits, store: Store) -> TrainResult | None:
    """What an earlier call left, if it finished."""
    result = read_result(store)
    if result is None:
        return None
    check_same_options(config, result.config, store.root)
    check_same_data(config, splits.hashes, result.fingerprint, store.root)
    check_same_block(check_fit(config, splits), result.fingerprint, store.root)
    if config.history is not None:
        path = Path(config.history)
        Store(path.parent, "--history").write(path.name, store.read(HISTORY))
    if not config.quiet:
        say(f"data: {splits.told}")
        say(f"{store.root} holds this run, finished: nothing to train")
    return result

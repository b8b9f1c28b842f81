"""From options to a trained network and its numbers: what the job and the Python door both call."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType, NoneType

import numpy.typing as npt
import torch

from noprop_dist import faults
from noprop_dist.backends import computing_of, open_backend
from noprop_dist.config import TrainConfig
from noprop_dist.data.given import Given
from noprop_dist.engine.coordinator import Coordinator
from noprop_dist.engine.cost import Cost
from noprop_dist.engine.executor import Backend
from noprop_dist.engine.finish import choose_answering, evaluate_test, finish
from noprop_dist.engine.job import Job, check_fit, make_job
from noprop_dist.engine.local import local_backend
from noprop_dist.engine.longer import after_a_shorter_run
from noprop_dist.engine.resume import Start, finished_result, named_checkpoint, start_or_resume
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.splits import Splits, load_splits, of_given_data
from noprop_dist.engine.watching import Callback, Metric, Watching
from noprop_dist.errors import UserError
from noprop_dist.model.block import Block
from noprop_dist.model.block_names import is_own
from noprop_dist.model.own_block import block_name
from noprop_dist.model.registry import BLOCKS
from noprop_dist.record.checkpoint import keep_newest, sha256_of_tensors
from noprop_dist.record.events import EventLog
from noprop_dist.record.feature_files import write_features
from noprop_dist.record.first_embedding import write_first_embedding
from noprop_dist.record.live_table import make_progress
from noprop_dist.record.own_parts import NoiseSchedule, OwnParts, given_parts, write_own_parts
from noprop_dist.record.places import check_places, in_a_lasting_place, run_store
from noprop_dist.record.progress import Steps, say, shown_work
from noprop_dist.record.result import TrainResult
from noprop_dist.record.run_record import Record
from noprop_dist.record.store import Store
from noprop_dist.record.trackers import open_trackers
from noprop_dist.run_files import CONFIG, OWN_BLOCK
from noprop_dist.signals import StopSignals
from noprop_dist.text import how_many


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
    block: str | type[Block] | None = None,
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
        data: (train, test) or (train, val, test), instead of the data set that ``config`` names: of
            each a tuple of samples and labels, NumPy arrays or tensors, or a map-style data set of
            (image or vector, label), or a Hugging Face ``Dataset``; see ``load_given``.
        block: in the place of ``config.block``, "package.module:Class" or "path/file.py:Class" of a
            ``Block`` of one's own, or the class itself, where it is defined in a module.
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
    if config.blocks is not None:
        raise UserError("--blocks trains no whole network: call train_blocks, and merge after it.")
    watching = Watching(callbacks, metrics)
    config, own = _begun_with(config, block, noise_schedule, class_embed, init_from)
    result = _run(config, own, data, watching, backend)
    assert isinstance(result, TrainResult)
    return result


def train_blocks(
    config: TrainConfig,
    *,
    data: Given | None = None,
    block: str | type[Block] | None = None,
    noise_schedule: NoiseSchedule | None = None,
    class_embed: npt.ArrayLike | torch.Tensor | None = None,
    init_from: TrainResult | str | Path | None = None,
    backend: Backend | None = None,
) -> TrainedBlocks:
    """Train the blocks of ``config.blocks`` alone, as ``train`` would among all of them.

    Nothing is evaluated: some blocks are no network; see ``merge``, and ``train`` for the rest.

    Raises:
        UserError: bad input, in one sentence.
        StoppedError: as ``train``; KeyboardInterrupt too.
    """
    if config.blocks is None:
        raise UserError("--blocks names no block: give it, or call train for all of them.")
    config, own = _begun_with(config, block, noise_schedule, class_embed, init_from)
    trained = _run(config, own, data, Watching(), backend)
    assert isinstance(trained, TrainedBlocks)
    return trained


def _begun_with(
    config: TrainConfig,
    block: str | type[Block] | None,
    noise_schedule: NoiseSchedule | None,
    class_embed: npt.ArrayLike | torch.Tensor | None,
    init_from: TrainResult | str | Path | None,
) -> tuple[TrainConfig, OwnParts]:
    """The options with what was given in Python, and the parts that they cannot hold."""
    place = init_from.folder if isinstance(init_from, TrainResult) else init_from
    if not isinstance(place, (str, Path, NoneType)):
        raise UserError(
            f"init_from is a run, its folder or an exported file, got {type(place).__name__}."
        )
    begun = config.init_from if place is None else str(place)
    config = replace(config, block=block_name(block, config.block), init_from=begun)
    check_places(config)
    return given_parts(config, noise_schedule, class_embed)


def _run(
    config: TrainConfig,
    own: OwnParts,
    data: Given | None,
    watching: Watching,
    backend: Backend | None,
) -> TrainResult | TrainedBlocks:
    with StopSignals() as signals:
        config, splits = prepare(config, data, own)
        store = run_store(config)
        finished = finished_result(config, splits, store)
        if finished is not None:
            return finished
        config = after_a_shorter_run(config, splits.hashes, store)
        opened = nullcontext(backend) if backend else open_backend(config, splits.nbytes)
        with opened as backend:
            result = _train_on(backend, config, splits, store, watching, signals)
    if isinstance(result, TrainResult) and config.plots:
        _draw(config, result, splits)
    return result


def _train_on(
    backend: Backend,
    config: TrainConfig,
    splits: Splits,
    store: Store,
    watching: Watching,
    signals: StopSignals,
) -> TrainResult | TrainedBlocks:
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
) -> TrainResult | TrainedBlocks:
    rounds, start = begun
    job, config = rounds.job, rounds.job.config
    rows = 0 if config.blocks is not None else len(splits.val) + len(splits.test)
    first = {t: rounds.latest[t].step for t in config.chosen}
    steps = Steps(config.epochs, job.steps_per_epoch, first, job.steps_of_evaluation(rows))
    progress = make_progress(steps, quiet=config.quiet)
    events = EventLog(store)
    trackers = open_trackers(config, store, rounds.round, progress.warn)
    record = Record(store, events, progress, config.history, trackers)
    watching.begin(rounds, store.root, splits.val.labels, splits.own.backbone)
    # What the run began with is no worker's business, nor are pictures where there are features.
    sent = replace(splits, own=OwnParts(), row_hashes=splits.hashes, pictures=None)
    with trackers:
        with progress, backend.executor(job, sent, progress, events.write) as executor:
            if splits.num_skipped:
                left_out = how_many(splits.num_skipped, "bad image")
                progress.warn(f"left out {left_out} of {config.dataset}")
            begin(start, rounds, record, splits)
            num_val = 0 if config.blocks is not None else len(splits.val)
            coordinator = Coordinator(rounds, executor, record, num_val=num_val, watching=watching)
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
            answering = choose_answering(rounds, executor, splits.val)
            test = evaluate_test(rounds, executor, len(splits.test), answering)
        measured = watching.measured(test, splits.test.labels)
        # The workers are free by now.
        result = finish(rounds, answering, test, splits, store, measured)
        keep_newest(store, config.keep_checkpoints or 1)
        trackers.result(result)
    watching.finished(result)
    return result


def _draw(config: TrainConfig, result: TrainResult, splits: Splits) -> None:
    """Pictures and report; a finished run stays one, whatever happens here."""
    from noprop_dist.see.visualize import draw_run

    try:
        own = config.block if is_own(config.block) else None
        test = splits.test if splits.pictures is None else splits.pictures
        showing = nullcontext() if config.quiet else shown_work("drawing pictures", None)
        with showing:
            missing = draw_run(result.folder, test=test, block=own).missing
        for sentence in missing:
            say(sentence)
    except (Exception, KeyboardInterrupt) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        say(f"not all pictures are drawn ({why}); noprop visualize {result.folder} draws them")


def begin(start: Start, rounds: Rounds, record: Record, splits: Splits) -> None:
    """Write what can be written before the first step, so that a bad path costs no training."""
    config = rounds.job.config
    record.store.write(CONFIG, config.to_yaml().encode())
    record.write_history(rounds.history)
    if start.checkpoint is None and config.embedding_type == "prototype":
        write_first_embedding(record.store, rounds.shared["class_embed"])
    write_own_parts(record.store, splits.own)
    if splits.own.backbone is not None:
        rows = {"train": splits.train, "val": splits.val, "test": splits.test}
        again = start.checkpoint is None
        write_features(record.store, rows, splits.class_names, again=again)
    record.progress.message(f"data: {splits.told}")
    spec = rounds.job.spec
    if config.block == "auto" and BLOCKS[spec.block].note:
        record.progress.message(f"block: {spec.block}, {BLOCKS[spec.block].note}")
    if spec.block_code is not None:
        record.store.write(OWN_BLOCK, spec.block_code.source.encode())
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
        samples=asdict(splits.samples),
        cost=Cost.of(config, spec).sizes(),
        checkpoint=start.checkpoint,
        warnings=list(start.warnings),
        steps=steps,
    )


def prepare(
    config: TrainConfig, data: Given | None = None, own: OwnParts | None = None
) -> tuple[TrainConfig, Splits]:
    """The options in their place, and the data that they name or that is given.

    Args:
        config: the options.
        data: instead of the data set that they name; see ``train``.
        own: what else the run begins with; None takes what the options say of it.

    Raises:
        UserError: the data is not there, or the options fit neither it nor this machine.
    """
    if config.executor == "local":
        local_backend(config)  # what is not on this machine is refused before data is read
    if config.resume_from is not None:
        named_checkpoint(config.resume_from)  # and what is not there before Ray is started
    if data is not None:
        config = of_given_data(config)
    if own is None:
        config, own = given_parts(config)
    splits = load_splits(config, data, computing_of(config))
    own = replace(own, backbone=splits.own.backbone, code=splits.own.code)
    splits = replace(splits, own=own)
    check_fit(config, splits)
    return in_a_lasting_place(config.placed(splits.hashes)), splits


def job_on(backend: Backend, config: TrainConfig, splits: Splits) -> Job:
    """The run, as units compute it there."""
    armed = faults.from_environment()
    return make_job(config, splits, backend.device, backend.precision, armed)

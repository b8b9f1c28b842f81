"""From options to a trained network and its numbers: what the job and the Python door both call."""

import random
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from noprop_dist import faults
from noprop_dist.config import TrainConfig
from noprop_dist.engine.coordinator import Coordinator, Order, Record
from noprop_dist.engine.executor import Executor, WorkFailedError, run_all
from noprop_dist.engine.finish import TEST_DRAWS, evaluate_test, finish, seconds_a_row
from noprop_dist.engine.job import Job, Splits, load_data, make_job
from noprop_dist.engine.resume import Start, check_same_options, start_afresh, start_or_resume
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.snapshot import Snapshot
from noprop_dist.engine.unit import Unit
from noprop_dist.errors import UserError
from noprop_dist.record.events import EventLog
from noprop_dist.record.first_embedding import write_first_embedding
from noprop_dist.record.progress import Progress, make_progress, say
from noprop_dist.record.result import TrainResult, read_result
from noprop_dist.record.store import Store
from noprop_dist.record.trackers import check_trackers, open_trackers
from noprop_dist.signals import StopSignals
from noprop_dist.site import Site, count_cores, open_site


class StoppedError(Exception):
    """The run was asked to stop; its state is in the run folder.

    Attributes:
        folder: the run folder.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder


def train(
    config: TrainConfig, *, shuffled_order: bool = False, site: Site | None = None
) -> TrainResult:
    """Train a NoProp network as ``config`` says; go on where an earlier call was stopped.

    Args:
        config: the options.
        shuffled_order: offer ready blocks in an order of chance. It changes no weight: a promise
            that tests keep.
        site: where units run, already open; None opens what ``config`` names.

    Raises:
        UserError: bad input, in one sentence.
        StoppedError: Ctrl-C or a termination signal while training; call again to go on.
        KeyboardInterrupt: such a signal at another time, or a second one; nothing is lost but what
            was trained since the last checkpoint.
    """
    config = in_a_lasting_place(config)
    store = Store(config.folder)
    for name, what in (("sweep.json", "a sweep"), ("trial.json", "a trial of a sweep")):
        if store.exists(name):
            raise UserError(
                f"{store.root} holds {what}: give another --name or --checkpoint-dir for the run."
            )
    finished = _finished_result(config, store)
    if finished is not None:
        return finished
    _check_places(config)
    order = _by_chance if shuffled_order else None
    with StopSignals() as signals:
        job, splits, num_skipped = _prepare(config)
        faults.arm(job.faults)
        opened = nullcontext(site) if site else open_site(config, splits.nbytes)
        with opened as site:
            job = job.on(site.device, site.precision)
            begun = start_or_resume(job, splits, store)
            waited: list[str] = []

            def tell(text: str) -> None:
                waited.append(text)
                say(text)

            with store.lock(tell=tell):
                if waited:  # for another run, which may have gone on or finished meanwhile
                    finished = _finished_result(config, store)
                    if finished is not None:
                        return finished
                    begun = start_or_resume(job, splits, store)
                result = _train(begun, splits, num_skipped, store, site, signals, order)
    if not config.no_plots:
        _draw(result, splits)
    return result


def _train(
    begun: tuple[Rounds, Start],
    splits: Splits,
    num_skipped: int,
    store: Store,
    site: Site,
    signals: StopSignals,
    order: Order | None,
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
    with trackers:
        with site.executor(job, splits, progress, events.write) as executor, progress:
            if num_skipped:
                progress.warn(f"left out {num_skipped} bad images of {config.dataset}")
            begin(start, rounds, record)
            num_val = len(splits.val)
            coordinator = Coordinator(rounds, executor, record, num_val=num_val, order=order)
            with signals.asking(coordinator.request_stop):
                trained = coordinator.run()
            if not trained:
                raise StoppedError(store.root)
            rounds.latest.clear()  # optimiser state is most of the memory, and saved by now
            progress.message(f"evaluating {len(splits.test):,} test images")
            test = evaluate_test(rounds, executor, len(splits.test))
        result = finish(rounds, test, splits, store, num_skipped)  # the workers are free by now
        trackers.result(result)
    return result


def _draw(result: TrainResult, splits: Splits) -> None:
    """Pictures and report; a finished run stays one, whatever happens here."""
    from noprop_dist.see.draw import draw_run

    try:
        for sentence in draw_run(result.folder, test=splits.test).missing:
            say(sentence)
    except (Exception, KeyboardInterrupt) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        say(f"not all pictures are drawn ({why}); noprop visualize {result.folder} draws them")


def _by_chance(found: Iterable[Snapshot]) -> list[Snapshot]:
    return sorted(found, key=lambda _: random.random())


def in_a_lasting_place(config: TrainConfig) -> TrainConfig:
    """In a submitted job relative paths of what is written lie in the home directory.

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


def _check_places(config: TrainConfig) -> None:
    """Refuse what cannot be written to, before anything is read or trained."""
    check_trackers(config)
    Store(config.folder).check_writable()
    if config.history is not None:
        Store(Path(config.history).parent, "--history").check_writable()


def begin(start: Start, rounds: Rounds, record: Record) -> None:
    """Write what can be written before the first step, so that a bad path costs no training."""
    config = rounds.job.config
    record.store.write("config.yaml", config.to_yaml().encode())
    record.write_history(rounds.history)
    if start.checkpoint is None and config.embedding_type == "prototype":
        write_first_embedding(record.store, rounds.shared["class_embed"])
    for text in start.warnings:
        record.progress.warn(text)
    steps = {str(t): snapshot.step for t, snapshot in rounds.latest.items()}
    if start.checkpoint is not None:
        share = sum(steps.values()) / (rounds.job.total_steps * len(steps))
        record.progress.message(f"going on from {start.checkpoint}: {share:.0%} trained")
    record.events.write(
        "run_started", checkpoint=start.checkpoint, warnings=list(start.warnings), steps=steps
    )


def _prepare(config: TrainConfig) -> tuple[Job, Splits, int]:
    """The job as it is on any device, its data, and how many bad images were left out."""
    if config.executor == "local" and config.cpus_per_worker > count_cores():
        raise UserError(
            f"--cpus-per-worker {config.cpus_per_worker} is more than this machine's "
            f"{count_cores()} cores: give at most so many."
        )
    dataset = load_data(config)
    job, splits = make_job(config, dataset, torch.device("cpu"))
    return replace(job, faults=faults.from_environment()), splits, dataset.num_skipped


def _finished_result(config: TrainConfig, store: Store) -> TrainResult | None:
    """What an earlier call left, if it finished."""
    result = read_result(store)
    if result is None:
        return None
    check_same_options(config, result.config, store.root)
    if config.history is not None:
        path = Path(config.history)
        Store(path.parent, "--history").write(path.name, store.read("training_history.json"))
    if not config.quiet:
        say(f"{store.root} holds this run, finished: nothing to train")
    return result


def dry_run(config: TrainConfig) -> dict[str, Any]:
    """Check everything, train two steps of every block, and estimate the run; leave nothing behind.

    The estimate holds training, evaluation after each epoch, and that of the test split at the end.

    Raises:
        UserError: what a real run would refuse.
    """
    config = in_a_lasting_place(config)
    store = Store(config.folder)
    _check_places(config)
    job, splits, num_skipped = _prepare(config)
    with open_site(config, splits.nbytes) as site:
        job = job.on(site.device, site.precision)
        rounds, start = start_or_resume(job, splits, store)
        with site.executor(job, splits, Progress(), lambda *_, **__: None) as executor:
            fresh = start_afresh(job, splits)
            seconds = _two_steps(fresh, executor)
            row_seconds = seconds_a_row(fresh, executor, len(splits.test))
    trained = sum(snapshot.step for snapshot in rounds.latest.values())
    steps = job.total_steps * job.spec.num_blocks - trained
    looks = TEST_DRAWS * len(splits.test) + (config.epochs - rounds.round) * len(splits.val)
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
        "device": str(site.device),
        "precision": job.precision,
        "units_at_once": executor.capacity,
        "evaluation_seconds": round(row_seconds * looks, 3),
        "estimated_seconds": round(seconds * steps + row_seconds * looks, 3),
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

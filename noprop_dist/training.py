"""From options to a trained network and its numbers: what the job and the Python door both call."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from noprop_dist.config import FREE_FIELDS, TrainConfig, config_hash, flag
from noprop_dist.data import load_dataset, normalise
from noprop_dist.engine.coordinator import Coordinator, Record, evaluate_test
from noprop_dist.engine.executor import LocalExecutor
from noprop_dist.engine.finish import finish
from noprop_dist.engine.job import Job, Splits, make_job, resolve_device
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.snapshot import first_shared
from noprop_dist.engine.unit import Unit
from noprop_dist.errors import UserError
from noprop_dist.maths.embedding import (
    learned_embedding,
    one_hot_embedding,
    prototype_indices,
)
from noprop_dist.maths.keys import torch_generator
from noprop_dist.record.checkpoint import find_checkpoint, load_newest
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
        StoppedError: Ctrl-C or a termination signal; call again to go on.
    """
    store = Store(run_folder(config))
    finished = _finished_result(config, store)
    if finished is not None:
        if not config.quiet:
            say(f"{store.root} holds this run, finished: nothing to train")
        return finished
    job, splits, device, num_skipped = _prepare(config)
    rounds, start = start_or_resume(job, splits, store)
    progress = make_progress(
        quiet=config.quiet,
        num_blocks=job.spec.num_blocks,
        total_epochs=config.epochs,
        steps_per_epoch=job.steps_per_epoch,
        first_step={t: s.step for t, s in rounds.latest.items()},
    )
    executor = _executor(job, splits, device, progress)
    record = Record(store, EventLog(store), progress, config.history)
    try:
        with progress:
            if num_skipped:
                progress.warn(f"left out {num_skipped} bad images of {config.dataset}")
            _tell_start(start, rounds, record)
            _train(rounds, executor, record, splits, shuffled_order)
            test = evaluate_test(rounds, executor, len(splits.test))
    finally:
        executor.close()
    return finish(rounds, test, splits, store, num_skipped)


def _tell_start(start: "Start", rounds: Rounds, record: Record) -> None:
    for problem in start.problems:
        record.progress.warn(problem)
    steps = {str(t): snapshot.step for t, snapshot in rounds.latest.items()}
    if start.checkpoint is not None:
        share = sum(steps.values()) / (rounds.job.total_steps * len(steps))
        record.progress.message(f"going on from {start.checkpoint}: {share:.0%} trained")
    record.events.write(
        "run_started", checkpoint=start.checkpoint, problems=list(start.problems), steps=steps
    )


def _prepare(config: TrainConfig) -> tuple[Job, Splits, torch.device, int]:
    """The job, its data, the device, and how many bad images were left out."""
    device = resolve_device(config)
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


def _executor(
    job: Job, splits: Splits, device: torch.device, progress: Progress | None = None
) -> LocalExecutor:
    config = job.config
    watcher = progress or Progress()
    threads = config.cpus_per_worker
    default = 1 if device.type == "cuda" else max(1, len(os.sched_getaffinity(0)) // threads)
    return LocalExecutor(
        job,
        splits,
        device,
        slots=config.workers or default,
        threads=threads,
        on_progress=lambda p: watcher.unit_progress(
            p.t, p.step, p.loss, p.accuracy, p.images_per_s
        ),
    )


def _train(
    rounds: Rounds,
    executor: LocalExecutor,
    record: Record,
    splits: Splits,
    shuffled_order: bool,
) -> None:
    config = rounds.job.config
    coordinator = Coordinator(rounds, executor, record, num_val=len(splits.val))
    if shuffled_order:
        chance = random.Random()
        coordinator.order = lambda snapshots: sorted(snapshots, key=lambda _: chance.random())
    record.store.write("config.yaml", config.to_yaml().encode())
    with _stop_on_signal(coordinator.request_stop):
        finished = coordinator.run()
    if not finished:
        raise StoppedError(record.store.root)


def run_folder(config: TrainConfig) -> str:
    """Where a run lives: ``checkpoint_dir``, or a folder named after its options."""
    if config.checkpoint_dir is not None:
        return config.checkpoint_dir
    name = config.name or f"{config.run_name}-{config_hash(config)}"
    return f"checkpoints_run/{name}"


def _finished_result(config: TrainConfig, store: Store) -> TrainResult | None:
    if not store.exists("result.json"):
        return None
    try:
        result = TrainResult.from_dict(json.loads(store.read("result.json")), store.root)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{store.root}/result.json is not readable ({error}).") from error
    _check_same(config, result.config, store.root)
    return result


def _check_same(config: TrainConfig, other: dict[str, Any], where: str) -> None:
    mine = config.to_dict()
    differing = [
        f"{flag(k)} {other.get(k)} there, {mine[k]} now"
        for k in mine
        if k not in FREE_FIELDS and mine[k] != other.get(k)
    ]
    if differing:
        raise UserError(
            f"{where} holds a run of another configuration ({'; '.join(differing)}): give the same "
            "options, or another --name or --checkpoint-dir."
        )


@dataclass(frozen=True)
class Start:
    """Where a run began: the checkpoint it goes on from, and damaged newer ones it passed over."""

    checkpoint: str | None = None
    problems: tuple[str, ...] = ()


def start_or_resume(job: Job, splits: Splits, store: Store) -> tuple[Rounds, Start]:
    """The state to go on from, and what it is.

    Raises:
        UserError: a checkpoint of another configuration, or none that is good.
    """
    source = store
    loaded = load_newest(store)
    if loaded is None and job.config.checkpoint is not None:
        source, loaded = find_checkpoint(job.config.checkpoint)
        if loaded is None:
            raise UserError(
                f"--checkpoint {job.config.checkpoint} holds no checkpoint: give a run folder or "
                "one of the folders in its checkpoints/."
            )
    if loaded is None:
        rounds = Rounds(job, first_shared(_class_embed(job, splits)))
        rounds.start()
        return rounds, Start()
    _check_same(job.config, loaded.state["config"], source.root)
    rounds = Rounds.restore(job, loaded.parts, loaded.state)
    return rounds, Start(loaded.name, loaded.problems)


def _class_embed(job: Job, splits: Splits) -> torch.Tensor:
    """The class embeddings to start from, (K, D) float32."""
    spec = job.spec
    if spec.embedding_type == "one-hot":
        return one_hot_embedding(spec.num_classes)
    if spec.embedding_type == "learned":
        generator = torch_generator(job.config.seed, "embedding")
        return learned_embedding(spec.num_classes, spec.embed_dim, generator)
    flat = torch.cat(
        [
            normalise(torch.from_numpy(x), job.normalisation).flatten(1)
            for x, _ in splits.train.batches(4096)
        ]
    )
    y = torch.from_numpy(splits.train.labels)
    return flat[prototype_indices(flat, y, spec.num_classes)].clone()


@contextmanager
def _stop_on_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Turn Ctrl-C and a termination signal into a stop at the next steps."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for s in before:
        signal.signal(s, lambda *_: stop())
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def dry_run(config: TrainConfig) -> dict[str, Any]:
    """Check everything, train two steps of every block, and estimate the run; leave nothing behind.

    Raises:
        UserError: what a real run would refuse.
    """
    job, splits, device, _ = _prepare(config)
    rounds, _ = start_or_resume(job, splits, Store(run_folder(config)))
    executor = _executor(job, splits, device)
    try:
        seconds = _two_steps(rounds, executor)
    finally:
        executor.close()
    steps = job.total_steps * job.spec.num_blocks
    return {
        "training_images": len(splits.train),
        "validation_images": len(splits.val),
        "test_images": len(splits.test),
        "sample_shape": list(job.spec.sample_shape),
        "classes": job.spec.num_classes,
        "embedding_dim": job.spec.embed_dim,
        "block_parameters": sum(p.numel() for p in job.spec.make_block().parameters()),
        "block_snapshot_bytes": sum(v.nbytes for v in rounds.latest[1].tensors.values()),
        "steps": steps,
        "device": str(device),
        "precision": job.precision,
        "units_at_once": executor.capacity,
        "estimated_seconds": round(seconds * steps, 1),
    }


def _two_steps(rounds: Rounds, executor: LocalExecutor) -> float:
    """Train every block for two steps, twice: seconds per step of the second time."""
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        for t in rounds.blocks:
            executor.submit(Unit(rounds.latest[t], num_steps=min(2, rounds.job.steps_per_epoch)))
        left = len(rounds.blocks)
        while left:
            ended = executor.wait(1.0)
            left -= len(ended)
            for done in ended:
                if done.error is not None:
                    raise done.error
        seconds = time.perf_counter() - start
    return seconds / (2 * len(rounds.blocks))

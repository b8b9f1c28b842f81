"""Trials on Ray Tune: what each asks of the cluster, who stops them, and what is written down."""

import gc
import json
import logging
import os
import platform
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.schedulers import TrialScheduler

from noprop_dist.config import TrainConfig
from noprop_dist.distributed.cluster import WorkerNeeds
from noprop_dist.distributed.run import RaySite
from noprop_dist.engine.job import Splits
from noprop_dist.errors import UserError
from noprop_dist.record.store import Store, inside
from noprop_dist.signals import kept
from noprop_dist.site import LocalSite, Site
from noprop_dist.sweep.block_trial import BLOCK_METRIC, train_block
from noprop_dist.sweep.network_trial import (
    BLOCK,
    GONE_S,
    METRIC,
    CannotTrainError,
    Report,
    train_trial,
    trial_config,
)
from noprop_dist.sweep.on_ray.samplers import JournalSearch
from noprop_dist.sweep.on_ray.schedulers import Limits, SweepEndedError
from noprop_dist.sweep.on_ray.storage import storage_of
from noprop_dist.sweep.space import Settings, settle
from noprop_dist.sweep.sweep_folder import TAKEN, run_folders

RETRIES = 3  # of a trial whose process died
TUNE_FOLDER = "tune"
POINTER = "pointer.json"  # the file of a Tune checkpoint: which run folder holds the real one
# Tune's own files are thrown away; a trial's thread gets time to end at its next step.
TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
THREAD_S = "60"


@dataclass(frozen=True)
class Plan:
    """What all trials of a sweep have in common.

    Attributes:
        base: the options that do not vary.
        folder: the sweep's, an absolute path or a URI: trials run in other working directories.
        needs: what one worker asks of the cluster.
        device: of the workers.
        precision: that they compute in.
        workers: Ray workers of a trial; 0: its units run in its own process.
        splits_ref: where the object store has the data.
        per_block: whether a trial is a single block.
        changes: whether settings may change while a trial trains.
    """

    base: TrainConfig
    folder: str
    needs: WorkerNeeds
    device: torch.device
    precision: str
    workers: int
    splits_ref: Any
    per_block: bool
    changes: bool

    @property
    def metric(self) -> str:
        """What trials are compared by."""
        return BLOCK_METRIC if self.per_block else METRIC

    @property
    def mode(self) -> str:
        """Whether "max" or "min" of it is best."""
        return "min" if self.per_block else "max"

    @property
    def threads_in_trial(self) -> int:
        """Units at once in a trial's own process."""
        return self.base.workers or 1

    def bundles(self) -> list[dict[str, float]]:
        """What a trial asks for: its own process first, then its workers."""
        if self.workers:
            return [{}, *[self.needs.amounts] * self.workers]
        amounts = self.needs.amounts
        return [amounts | {"CPU": self.needs.cpus * self.threads_in_trial}]

    def site(self) -> Site:
        """Where the units of a trial run, asked in its process."""
        if self.workers:
            return RaySite(
                self.needs, self.device, self.precision, private=True, splits_ref=self.splits_ref
            )
        return LocalSite(self.device, self.precision)

    def config(self, settings: Settings, path: str) -> TrainConfig:
        """The options of a trial whose run folder is ``path`` inside the sweep's."""
        mine: dict[str, Any] = {"workers": self.workers or self.threads_in_trial}
        if self.changes:  # another trial may go on from any of them
            mine["keep_checkpoints"] = self.base.epochs + 1
        return trial_config(self.base, settle(settings, self.base) | mine, self.folder, path)


def run_tune_trial(config: dict[str, Any], *, plan: Plan) -> None:
    """What runs in the process of a trial; its name is its number.

    Args:
        config: the settings, and as "trial" the number of the trial whose place it has.
        plan: of the sweep.
    """
    settings = {k: v for k, v in config.items() if k != "trial"}
    number = int(tune.get_context().get_trial_name())
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = THREAD_S
    splits: Splits = ray.get(plan.splits_ref)
    last = 0

    def tell(report: Report) -> None:
        nonlocal last
        last = int(report["epoch"])
        with tempfile.TemporaryDirectory() as folder:
            where = {"folder": place.path, "epoch": report["epoch"]}
            (Path(folder) / POINTER).write_text(json.dumps(where))
            # After its last epoch no scheduler has a say: nothing could be trained in another's
            # place.
            done = {"done": True} if last >= place.options.epochs else {}
            checkpoint = tune.Checkpoint.from_directory(folder)
            tune.report({**report, **done}, checkpoint=checkpoint)

    try:
        place = _place(plan, number, settings, len(splits.train))
        if plan.per_block:
            t = settings[BLOCK]
            train_block(place.options, splits, t, plan.device, plan.precision, tell)
        else:
            site = plan.site()
            train_trial(
                place.options, splits, site, tell, told=place.told, save_on_leave=plan.changes
            )
    except CannotTrainError as error:
        tune.report({"failed": str(error), "epoch": last, "done": True})
    except UserError as error:  # no fault of the settings: the trial is still to be trained
        tune.report({"broken": str(error), "epoch": last, "done": True})
    else:
        tune.report({"ended": True, "epoch": last, "done": True})


@dataclass(frozen=True)
class Place:
    """Where a trial trains.

    Attributes:
        store: the sweep's folder.
        path: of the run folder in it.
        options: of the run there.
        taken: None, or what is written in a folder that begins where another trial's was.
    """

    store: Store
    path: str
    options: TrainConfig
    taken: dict[str, Any] | None

    def told(self, epochs: int) -> int:
        """How many of the epochs that the run begins with were trained by another trial."""
        if self.taken is None:
            return 0
        if "epoch" not in self.taken:
            self.taken["epoch"] = epochs
            self.store.write(f"{self.path}/{TAKEN}", json.dumps(self.taken).encode())
        return int(self.taken["epoch"])


def _place(plan: Plan, number: int, settings: Settings, num_images: int) -> Place:
    """Where a trial begins, or goes on.

    A trial that takes another's place, with settings of its own, gets a new folder, named by its
    number and how often that happened.
    """
    store = Store(plan.folder)
    if not store.exists("sweep.json"):
        raise UserError(
            f"{plan.folder} is not there on {platform.node()}: give a --checkpoint-dir that every "
            "node sees, a shared folder or a URI such as s3://bucket/sweep."
        )
    mine = run_folders(store, number)
    pointer = _pointer(tune.get_checkpoint())
    taken: dict[str, Any] | None = None
    if pointer is not None and pointer["folder"] not in mine:
        path = f"{mine[0]}-{len(mine)}"
        epoch_steps = plan.base.num_blocks * (num_images // plan.base.batch_size)
        steps, total = pointer["epoch"] * epoch_steps, plan.base.epochs * epoch_steps
        where = _checkpoint_after(store, pointer["folder"], steps, total)
        taken = {"settings": settings, "from": where}
        store.write(f"{path}/{TAKEN}", json.dumps(taken).encode())
    else:
        path = mine[-1]
        if len(mine) > 1:
            taken = json.loads(store.read(f"{path}/{TAKEN}"))
    if taken is not None:
        settings = taken["settings"]
    try:
        options = plan.config(settings, path)
    except UserError as error:
        raise CannotTrainError(str(error)) from error
    if taken is not None:
        options = replace(options, checkpoint=inside(plan.folder, taken["from"]))
    return Place(store, path, options, taken)


def _checkpoint_after(store: Store, folder: str, steps: int, total: int) -> str:
    """Another trial's first checkpoint after so many steps of all blocks; it may be under way.

    The one before it where that is the last of ``total`` steps, which leaves nothing to train.

    Raises:
        UserError: the trial has none.
    """
    deadline = time.monotonic() + GONE_S
    while True:
        names = [
            f"{folder}/checkpoints/{name}"
            for name in store.list(f"{folder}/checkpoints")
            if store.exists(f"{folder}/checkpoints/{name}/manifest.json")
        ]
        taken = [int(name.rpartition("-")[2].split(".")[0]) for name in names]
        late = next((i for i, number in enumerate(taken) if number >= steps), None)
        if late is not None:
            return names[late - 1 if taken[late] >= total and late > 0 else late]
        if time.monotonic() > deadline:
            raise UserError(
                f"{store.root}/{folder} has no checkpoint after {steps} steps to go on from: give "
                "another --scheduler."
            )
        time.sleep(0.2)


def _pointer(checkpoint: tune.Checkpoint | None) -> dict[str, Any] | None:
    """The run folder and the epoch that a checkpoint of Tune points to."""
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        where: dict[str, Any] = json.loads((Path(folder) / POINTER).read_text())
    return where


def run_trials(
    plan: Plan,
    trials: JournalSearch | dict[str, Any],
    scheduler: TrialScheduler,
    watch: tune.Callback,
    limits: Limits,
    concurrent: int,
    count: int,
) -> None:
    """Run trials on the connected cluster until there are no more, or ``limits`` says so.

    Args:
        plan: what they have in common.
        trials: gives their settings one by one, or is a space that holds all of them.
        scheduler: stops them.
        watch: told of everything.
        limits: of the whole.
        concurrent: trials at once.
        count: trials that are given one by one.
    """
    store = Store(plan.folder)
    store.delete_tree(TUNE_FOLDER)  # of a sweep that was killed; it holds pickles, never read
    trainable = tune.with_resources(
        partial(run_tune_trial, plan=plan),
        tune.PlacementGroupFactory(plan.bundles(), strategy="PACK"),
    )
    searcher, space = (trials, None) if isinstance(trials, JournalSearch) else (None, trials)
    with _environment(), kept(signal.SIGINT), kept(signal.SIGTERM):
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        tuner = tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=count if searcher else 1,
                trial_name_creator=_name,
                max_concurrent_trials=concurrent,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=TUNE_FOLDER,
                **storage_of(plan.folder),
                stop=limits,
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[watch],
                verbose=0,
            ),
        )
        with suppress(SweepEndedError):
            tuner.fit()
    del tuner
    gc.collect()  # what is left of the trials' processes ends with their handles
    store.delete_tree(TUNE_FOLDER)


def _name(trial: Any) -> str:
    return str(trial.config["trial"])


@contextmanager
def _environment() -> Iterator[None]:
    """Tune reads its settings from the environment while it runs."""
    before = {name: os.environ.get(name) for name in TUNE_ENVIRONMENT}
    os.environ |= TUNE_ENVIRONMENT
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

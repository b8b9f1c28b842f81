"""Trials on Ray Tune: what each asks of the cluster, who stops them, and what is written down."""

import gc
import json
import logging
import os
import platform
import signal
import tempfile
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
from noprop_dist.sweep.journal import run_folders
from noprop_dist.sweep.on_ray.schedulers import Limits, SweepEndedError
from noprop_dist.sweep.on_ray.search import JournalSearch
from noprop_dist.sweep.space import Settings, settle
from noprop_dist.sweep.trial import METRIC, Report, train_trial, trial_config

RETRIES = 3  # of a trial whose process died
TUNE_FOLDER = "tune"
TAKEN = "taken.json"  # in a run folder that begins where another's run was
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
        workers = {"workers": self.workers or self.threads_in_trial}
        return trial_config(self.base, settle(settings, self.base) | workers, self.folder, path)


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
    told = 0

    def tell(report: Report) -> None:
        nonlocal told
        told = max(told, int(report["epoch"]))
        with tempfile.TemporaryDirectory() as folder:
            where = {"folder": path, "epoch": report["epoch"]}
            (Path(folder) / POINTER).write_text(json.dumps(where))
            tune.report(dict(report), checkpoint=tune.Checkpoint.from_directory(folder))

    try:
        path, options = _place(plan, number, settings)
        if plan.per_block:
            t = settings["block"]
            train_block(options, splits, t, plan.device, plan.precision, tell)
        else:
            train_trial(options, splits, plan.site(), tell, save_on_leave=plan.changes)
    except UserError as error:
        tune.report({"failed": str(error), "epoch": told, "done": True})
    else:
        tune.report({"ended": True, "epoch": told, "done": True})


def _place(plan: Plan, number: int, settings: Settings) -> tuple[str, TrainConfig]:
    """The run folder of a trial, inside the sweep's, and the options of the run there.

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
    donor = _pointer(tune.get_checkpoint())
    if donor in (None, *mine):
        path = mine[-1]
        if len(mine) > 1:
            taken = json.loads(store.read(f"{path}/{TAKEN}"))
            settings, donor = taken["settings"], taken["from"]
    else:
        path = f"{mine[0]}-{len(mine)}"
        store.write(f"{path}/{TAKEN}", json.dumps({"settings": settings, "from": donor}).encode())
    options = plan.config(settings, path)
    if donor is not None and donor not in mine:
        options = replace(options, checkpoint=inside(plan.folder, donor))
    return path, options


def _pointer(checkpoint: tune.Checkpoint | None) -> str | None:
    """The run folder that a checkpoint of Tune points to."""
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        where: dict[str, Any] = json.loads((Path(folder) / POINTER).read_text())
    return str(where["folder"])


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
                storage_path=plan.folder,
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

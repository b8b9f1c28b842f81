"""Trials on Ray Tune: what each asks of the cluster, who stops them, and what is written down."""

import json
import logging
import math
import os
import platform
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    PopulationBasedTraining,
    TrialScheduler,
)

from noprop_dist.config import TrainConfig
from noprop_dist.distributed.cluster import WorkerNeeds
from noprop_dist.distributed.run import RaySite
from noprop_dist.engine.job import Splits
from noprop_dist.errors import UserError
from noprop_dist.record.store import Store
from noprop_dist.signals import kept
from noprop_dist.site import LocalSite, Site
from noprop_dist.sweep.journal import Journal, trial_path
from noprop_dist.sweep.on_ray.search import JournalSearch
from noprop_dist.sweep.options import SweepConfig
from noprop_dist.sweep.space import Dimension, Settings, Space, most_epochs, settle
from noprop_dist.sweep.trial import Report, told_before, train_trial, trial_config

RETRIES = 3  # of a trial whose process died
PERTURBATIONS = 4  # chances of a trial to take another's place
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
        folder: the sweep's.
        needs: what one worker asks of the cluster.
        device: of the workers.
        precision: that they compute in.
        workers: Ray workers of a trial; 0: its units run in its own process.
        splits_ref: where the object store has the data.
        metric: that trials are compared by.
        mode: "max" or "min".
        changes: whether settings may change while a trial trains.
    """

    base: TrainConfig
    folder: str
    needs: WorkerNeeds
    device: torch.device
    precision: str
    workers: int
    splits_ref: Any
    metric: str
    mode: str
    changes: bool

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
    """What runs in the process of a trial; ``config`` holds its "trial" number and settings."""
    settings = {k: v for k, v in config.items() if k != "trial"}
    number = config["trial"]
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
    path = trial_path(number)
    mine = [path, *(f"trials/{n}" for n in store.list("trials") if n.startswith(f"{number:04d}-"))]
    donor = _pointer(tune.get_checkpoint())
    if donor in (None, *mine):
        path = mine[-1]
        if len(mine) > 1:
            taken = json.loads(store.read(f"{path}/{TAKEN}"))
            settings, donor = taken["settings"], taken["from"]
    else:
        path = f"{path}-{len(mine)}"
        store.write(f"{path}/{TAKEN}", json.dumps({"settings": settings, "from": donor}).encode())
    options = plan.config(settings, path)
    if donor not in (None, *mine):
        options = replace(options, checkpoint=f"{plan.folder}/{donor}")
    return path, options


def _pointer(checkpoint: tune.Checkpoint | None) -> str | None:
    """The run folder that a checkpoint of Tune points to."""
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        where: dict[str, Any] = json.loads((Path(folder) / POINTER).read_text())
    return str(where["folder"])


def scheduler_of(options: SweepConfig, plan: Plan, space: Space) -> TrialScheduler:
    """Who decides which trials go on."""
    compared: dict[str, Any] = {"time_attr": "epoch", "metric": plan.metric, "mode": plan.mode}
    if options.scheduler == "asha":
        return ASHAScheduler(
            **compared,
            max_t=most_epochs(space, plan.base),
            grace_period=options.grace_epochs,
            reduction_factor=options.reduction,
        )
    if options.scheduler == "pbt":
        return PopulationBasedTraining(
            **compared,
            perturbation_interval=max(1, plan.base.epochs // PERTURBATIONS),
            hyperparam_mutations={name: _mutation(d) for name, d in space.items()},
            log_config=False,
            require_attrs=False,
        )
    return FIFOScheduler()  # type: ignore[no-untyped-call]


def _mutation(dimension: Dimension) -> Any:
    if dimension.kind == "choice":
        return list(dimension.values)
    kinds = {"uniform": tune.uniform, "loguniform": tune.loguniform, "randint": tune.randint}
    return kinds[dimension.kind](*dimension.values)


def remember(scheduler: TrialScheduler, journal: Journal) -> None:
    """Let a new scheduler know what trials reported that ended before it was made."""
    if not isinstance(scheduler, ASHAScheduler):
        return
    for trial in journal.ended:
        stand_in: Any = SimpleNamespace(trial_id=f"ended-{trial.number}")
        controller: Any = None
        scheduler.on_trial_add(controller, stand_in)
        history = journal.history(trial.number)
        for report in told_before(history, len(history.lr_history)):
            scheduler.on_trial_result(controller, stand_in, report)


class Limits(tune.Stopper):
    """Ends the sweep when it is asked to, or its time is over.

    Attributes:
        asked: whether it was asked to.
        over: whether its time was over.
    """

    def __init__(self, seconds: float | None) -> None:
        self.asked = self.over = False
        self._deadline = math.inf if seconds is None else time.monotonic() + seconds

    def ask(self) -> None:
        """End the sweep at the next look."""
        self.asked = True

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether one trial should end: never for its own sake."""
        return False

    def stop_all(self) -> bool:
        """Whether all should."""
        self.over = self.over or time.monotonic() > self._deadline
        return self.asked or self.over


def run_trials(
    plan: Plan,
    search: JournalSearch,
    scheduler: TrialScheduler,
    watch: tune.Callback,
    limits: Limits,
    concurrent: int,
    count: int,
) -> None:
    """Run trials on the connected cluster until there are no more, or ``limits`` says so.

    Args:
        plan: what they have in common.
        search: gives their settings.
        scheduler: stops them.
        watch: told of everything.
        limits: of the whole.
        concurrent: trials at once.
        count: trials in all.
    """
    store = Store(plan.folder)
    store.delete_tree(TUNE_FOLDER)  # of a sweep that was killed; it holds pickles, never read
    trainable = tune.with_resources(
        partial(run_tune_trial, plan=plan),
        tune.PlacementGroupFactory(plan.bundles(), strategy="PACK"),
    )
    storage = plan.folder if "://" in plan.folder else str(Path(plan.folder).absolute())
    with _environment(), kept(signal.SIGINT), kept(signal.SIGTERM):
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=scheduler,
                num_samples=count,
                max_concurrent_trials=concurrent,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=TUNE_FOLDER,
                storage_path=storage,
                stop=limits,
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[watch],
                verbose=0,
            ),
        )
        tuner.fit()
    store.delete_tree(TUNE_FOLDER)


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

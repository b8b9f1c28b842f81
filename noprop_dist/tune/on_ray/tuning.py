"""Trials on Ray Tune: what each asks of the cluster, and what runs in its process."""

import gc
import logging
import os
import platform
import signal
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.schedulers import TrialScheduler

from noprop_dist.config import TrainConfig
from noprop_dist.distributed.cluster import WorkerNeeds
from noprop_dist.distributed.ray_backend import RayBackend
from noprop_dist.distributed.start import VARIABLE
from noprop_dist.engine.executor import Backend
from noprop_dist.engine.local import LocalBackend
from noprop_dist.engine.splits import Splits
from noprop_dist.errors import UserError
from noprop_dist.host import environment
from noprop_dist.model.own_block import BlockCode
from noprop_dist.record.store import Store
from noprop_dist.run_files import SWEEP
from noprop_dist.signals import kept
from noprop_dist.tune.block_trial import train_block
from noprop_dist.tune.network_trial import CannotTrainError, train_trial, trial_config
from noprop_dist.tune.on_ray.callbacks import TrialRecorder, TrialSearcher
from noprop_dist.tune.on_ray.schedulers import Limits, SweepEndedError
from noprop_dist.tune.space import BLOCK, Settings, settle
from noprop_dist.tune.sweep_folder import trial_path
from noprop_dist.tune.sweep_options import SweepConfig

RETRIES = 3  # of a trial whose process died
# Tune's own files are thrown away; a trial's thread gets time to end at its next step.
TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_AIR_NEW_OUTPUT": "0",
}
THREAD_S = "60"


@dataclass(frozen=True)
class Plan:
    """What all trials of a sweep have in common.

    Attributes:
        base: the options that do not vary.
        options: the sweep's own.
        folder: the sweep's, an absolute path or a URI: trials run in other working directories.
        needs: what one worker asks of the cluster.
        device: of the workers.
        precision: that they compute in.
        gpu_bytes: free memory of a worker's GPU, 0 on a CPU.
        splits_ref: where the object store has the data.
        code: of the trials' block, where that is the user's own.
    """

    base: TrainConfig
    options: SweepConfig
    folder: str
    needs: WorkerNeeds
    device: torch.device
    precision: str
    gpu_bytes: int
    splits_ref: Any
    code: BlockCode | None = None

    @property
    def threads_in_trial(self) -> int:
        """Units at once in a trial's own process."""
        return self.base.workers or 1

    def bundles(self) -> list[dict[str, float]]:
        """What a trial asks for: its own process first, then its workers."""
        if self.options.workers_per_trial:
            return [{}, *[self.needs.amounts] * self.options.workers_per_trial]
        amounts = self.needs.amounts
        return [amounts | {"CPU": self.needs.cpus * self.threads_in_trial}]

    def backend(self) -> Backend:
        """Where the units of a trial run, asked in its process."""
        if self.options.workers_per_trial:
            return RayBackend(
                self.needs,
                self.device,
                self.precision,
                private=True,
                splits_ref=self.splits_ref,
                gpu_bytes=self.gpu_bytes,
            )
        return LocalBackend(self.device, self.precision)

    def config(self, settings: Settings, number: int) -> TrainConfig:
        """The options of a trial.

        Raises:
            CannotTrainError: its settings contradict each other.
            UserError: this machine does not see the sweep's folder.
        """
        if not Store(self.folder).exists(SWEEP):
            raise UserError(
                f"{self.folder} is not there on {platform.node()}: give a --run-dir that "
                "every node sees, a shared folder or a URI such as s3://bucket/sweep."
            )
        mine = settle(settings, self.base) | {
            "workers": self.options.workers_per_trial or self.threads_in_trial
        }
        try:
            return trial_config(self.base, mine, self.folder, trial_path(number))
        except UserError as error:
            raise CannotTrainError(str(error)) from error


def run_tune_trial(config: dict[str, Any], *, plan: Plan) -> None:
    """What runs in the process of a trial, which goes on from what its run folder holds.

    Args:
        config: the settings, and as "trial" the trial's number.
        plan: of the sweep.
    """
    settings = {k: v for k, v in config.items() if k != "trial"}
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = THREAD_S
    splits: Splits = ray.get(plan.splits_ref)
    if plan.code is not None:
        plan.code.give()
    try:
        options = plan.config(settings, config["trial"])
        if plan.options.per_block:
            train_block(options, splits, settings[BLOCK], plan.device, plan.precision, tune.report)
        else:
            train_trial(options, splits, plan.backend(), tune.report)
    except CannotTrainError as error:
        tune.report({"failed": str(error), "done": True})
    except UserError as error:  # no fault of the settings: the trial is still to be trained
        tune.report({"broken": str(error), "done": True})
    else:
        tune.report({"ended": True, "done": True})


def run_trials(
    plan: Plan,
    searcher: TrialSearcher,
    scheduler: TrialScheduler,
    recorder: TrialRecorder,
    limits: Limits,
    concurrent: int,
    count: int,
) -> None:
    """Run trials on the connected cluster until there are no more, or ``limits`` says so.

    Args:
        plan: what they have in common.
        searcher: gives their settings one by one.
        scheduler: stops them.
        recorder: told of everything.
        limits: of the whole.
        concurrent: trials at once.
        count: trials.
    """
    trainable = tune.with_resources(
        partial(run_tune_trial, plan=plan),
        tune.PlacementGroupFactory(plan.bundles(), strategy="PACK"),
    )
    # Tune's own files are of no use to anybody: trials write all that is kept by themselves. They
    # lie beside those of a private Ray.
    place = os.environ.get(VARIABLE)
    place = place if place and Path(place).is_dir() else None
    with (
        tempfile.TemporaryDirectory("", "tune-", place, ignore_cleanup_errors=True) as own,
        environment(TUNE_ENVIRONMENT),
        kept(signal.SIGINT),
        kept(signal.SIGTERM),
    ):
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=count,
                trial_name_creator=lambda trial: str(trial.config["trial"]),
                max_concurrent_trials=concurrent,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=own,
                stop=limits,
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[recorder],
                verbose=0,
            ),
        )
        with suppress(SweepEndedError):
            tuner.fit()
        del tuner
        gc.collect()  # what is left of the trials' processes ends with their handles

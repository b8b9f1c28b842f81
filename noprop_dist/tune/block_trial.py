"""A trial of one block: with fixed class embeddings it needs no other."""

import json
import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from noprop_dist.config import TrainConfig
from noprop_dist.engine.job import Job
from noprop_dist.engine.resume import first_shared_of
from noprop_dist.engine.runner import UnitRunner, WorkFailedError
from noprop_dist.engine.snapshot import Snapshot, first_snapshot
from noprop_dist.engine.splits import Splits
from noprop_dist.engine.unit import Unit, UnitResult
from noprop_dist.record.checkpoint import load_newest, save_checkpoint
from noprop_dist.record.events import EventLog
from noprop_dist.record.store import Store
from noprop_dist.run_files import CONFIG
from noprop_dist.tune.denoising_loss import denoising_error
from noprop_dist.tune.network_trial import CannotTrainError, Tell, job_of, locked
from noprop_dist.tune.reports import AGAIN, BLOCK_METRIC, REPORTS, Report


@dataclass
class BlockState:
    """Where a trial of a block stands.

    Attributes:
        latest: the block after its last epoch.
        best: after its best epoch, by ``BLOCK_METRIC``.
        reports: of every epoch.
        seconds: that it trained.
    """

    latest: Snapshot
    best: Snapshot
    reports: list[Report] = field(default_factory=list)
    seconds: float = 0.0

    def save(self, store: Store) -> None:
        """Write a checkpoint, and the reports for people."""
        tensors = {"latest": self.latest.tensors, "best": self.best.tensors}
        state = {
            "block": self.latest.t,
            "steps": {"latest": self.latest.step, "best": self.best.step},
            "reports": self.reports,
            "seconds": self.seconds,
        }
        save_checkpoint(store, f"step-{self.latest.step:010d}", tensors, state, keep=1)
        store.write(REPORTS, json.dumps(self.reports).encode())

    @classmethod
    def load(cls, store: Store) -> "BlockState | None":
        """The newest checkpoint's, or None where there is none."""
        loaded = load_newest(store)
        if loaded is None:
            return None
        state: dict[str, Any] = loaded.state
        latest, best = (
            Snapshot(state["block"], state["steps"][name], loaded.parts[name])
            for name in ("latest", "best")
        )
        return cls(latest, best, state["reports"], state["seconds"])


def train_block(
    config: TrainConfig,
    splits: Splits,
    t: int,
    device: torch.device,
    precision: str,
    tell: Tell,
) -> None:
    """Train block t alone, or go on, and tell of every epoch.

    Args:
        config: the options; ``num_blocks`` is T and the embedding is fixed.
        splits: the data; the test split is not looked at.
        t: the block.
        device: where to compute.
        precision: "fp32" or "bf16".
        tell: called after every epoch, also those of an earlier call; it may raise SystemExit to
            end the trial.

    Raises:
        CannotTrainError: the settings do not fit the data, or the block cannot be trained.
        UserError: something else is wrong, such as a full disk.
        SystemExit: ``tell`` ended it.
    """
    store = Store(config.folder)
    job = job_of(config, splits, device, precision)
    torch.set_num_threads(config.cpus_per_worker)
    with locked(store):
        store.write(CONFIG, config.to_yaml().encode())
        state = BlockState.load(store)
        if state is None:
            first = first_snapshot(job, t, first_shared_of(job, splits))
            state = BlockState(first, first)
        for report in state.reports:
            tell(report | {AGAIN: True})
        events = EventLog(store)
        runner = UnitRunner(job, splits, device, at_once=1)
        while len(state.reports) < config.epochs:
            tell(_train_epoch(state, runner, job, splits, device, store, events))


def _train_epoch(
    state: BlockState,
    runner: UnitRunner,
    job: Job,
    splits: Splits,
    device: torch.device,
    store: Store,
    events: EventLog,
) -> Report:
    began, clock = time.time(), time.perf_counter()
    before = state.latest
    try:
        result = runner.run(Unit(before, job.steps_per_epoch))
    except WorkFailedError as error:
        raise CannotTrainError(f"block {before.t} failed: {error}.") from error
    assert isinstance(result, UnitResult)
    loss = denoising_error(result.snapshot, job, splits.val, device)
    if not math.isfinite(loss):
        raise CannotTrainError(f"block {before.t} failed: its validation loss is not finite.")
    seconds = time.perf_counter() - clock
    state.latest = result.snapshot
    if loss < min((r[BLOCK_METRIC] for r in state.reports), default=float("inf")):
        state.best = result.snapshot
    state.seconds += seconds
    report = {
        "epoch": len(state.reports) + 1,
        BLOCK_METRIC: loss,
        "train_loss": result.progress.loss,
        "seconds": round(state.seconds, 3),
    }
    state.reports.append(report)
    events.write(
        "unit",
        block=before.t,
        step=before.step,
        num_steps=job.steps_per_epoch,
        started=round(began, 4),
        seconds=round(seconds, 4),
        worker="trial",
    )
    state.save(store)
    return report

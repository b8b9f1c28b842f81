"""The state of a run between units, and what may be done next: a machine without a clock.

A round is one epoch of every block. Fixed embeddings let a block run ahead of the slowest, bounded
by memory; learned ones, and a plateau learning rate, make the next round wait for this one.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from noprop_dist.engine.evaluate import EvalResult, Weights
from noprop_dist.engine.job import Job
from noprop_dist.engine.snapshot import Shared, Snapshot, average_shared, first_snapshot
from noprop_dist.engine.unit import Unit
from noprop_dist.record.history import BlockEpoch, History

MAX_AHEAD = 1  # rounds a block may be ahead of the oldest open one

Parts = dict[str, dict[str, Tensor]]


@dataclass
class Best:
    """The epoch of the best validation accuracy so far."""

    epoch: int
    accuracy: float
    weights: Weights
    shared: Shared


@dataclass
class Rounds:
    """Snapshots, the shared part, and what evaluation has decided.

    Attributes:
        job: the run.
        shared: class embeddings and readout that the next round starts from.
        latest: by t, the newest snapshot.
        round: the oldest epoch that is not yet closed (0-based).
        ends: by epoch and t, snapshots at that epoch's end, until it is closed.
        rates: by epoch and t, images per second.
        history: of closed epochs.
        best: best epoch, where there is a validation split.
        waited: closed epochs since the best.
        lr_scale: the plateau's factor.
    """

    job: Job
    shared: Shared
    latest: dict[int, Snapshot] = field(default_factory=dict)
    round: int = 0
    ends: dict[int, dict[int, Snapshot]] = field(default_factory=dict)
    rates: dict[int, dict[int, float]] = field(default_factory=dict)
    history: History = field(default_factory=History)
    best: Best | None = None
    waited: int = 0
    lr_scale: float = 1.0
    train_seconds: float = 0.0

    @property
    def blocks(self) -> range:
        """T = 1..T."""
        return range(1, self.job.spec.num_blocks + 1)

    def start(self) -> None:
        """Every block before its first step."""
        self.latest = {t: first_snapshot(self.job, t, self.shared) for t in self.blocks}

    def next_unit(self, t: int) -> Unit | None:
        """What block t may train now, or None: it waits for the others or has finished."""
        snapshot = self.latest[t]
        epoch, offset = divmod(snapshot.step, self.job.steps_per_epoch)
        if epoch >= self.job.config.epochs or epoch > self.round + self._ahead(epoch):
            return None
        starts_round = offset == 0 and epoch > 0
        averaged = starts_round and self.job.learns_embedding(epoch - 1)
        return Unit(
            snapshot,
            self.job.steps_per_epoch - offset,
            shared=self.shared if averaged else None,
            lr_scale=self.lr_scale,
        )

    def _ahead(self, epoch: int) -> int:
        if self.job.config.lr_schedule == "plateau":
            return 0
        if epoch > 0 and self.job.learns_embedding(epoch - 1):
            # The average is there as soon as every block has ended the round before.
            return 1 if len(self.ends.get(epoch - 1, ())) == len(self.blocks) else 0
        return MAX_AHEAD

    def take(self, snapshot: Snapshot, images_per_s: float) -> int | None:
        """Keep a unit's snapshot; the epoch that it completes for all blocks, if it does."""
        self.latest[snapshot.t] = snapshot
        epoch, offset = divmod(snapshot.step, self.job.steps_per_epoch)
        if offset:
            return None
        ends = self.ends.setdefault(epoch - 1, {})
        ends[snapshot.t] = snapshot
        self.rates.setdefault(epoch - 1, {})[snapshot.t] = images_per_s
        if len(ends) < len(self.blocks):
            return None
        if self.job.learns_embedding(epoch - 1):
            self.shared = self.average(epoch - 1)
        return epoch - 1

    def average(self, epoch: int) -> Shared:
        """The shared part at the end of ``epoch``: the mean of the blocks' copies."""
        return average_shared([self.ends[epoch][t] for t in self.blocks])

    def weights(self, epoch: int) -> Weights:
        """Every block's weights at the end of ``epoch``."""
        return {t: self.ends[epoch][t].weights() for t in self.blocks}

    def close(self, result: EvalResult | None) -> bool:
        """Close the oldest open epoch with its evaluation; True where it is a new best."""
        epoch, job = self.round, self.job
        blocks = {}
        for t in self.blocks:
            loss, right, images = self.ends[epoch][t].tensors["tally"].tolist()
            blocks[t] = BlockEpoch(loss / images, right / images, self.rates[epoch][t])
        lr = job.lr((epoch + 1) * job.steps_per_epoch - 1) * self.lr_scale
        z_T = result.accuracy_z_T[0] if result else None  # noqa: N806
        self.history.record(blocks, z_T, result.accuracy_mean_softmax[0] if result else None, lr)
        better = z_T is not None and (self.best is None or z_T > self.best.accuracy)
        if better and z_T is not None:
            self.best = Best(epoch, z_T, self.weights(epoch), self.average(epoch))
            self.waited = 0
        elif z_T is not None:
            self.waited += 1
            patience = job.config.lr_scheduler_patience
            if job.config.lr_schedule == "plateau" and self.waited % patience == 0:
                self.lr_scale *= 0.5
        self.round += 1
        del self.rates[epoch]
        self.ends.pop(epoch - 1, None)
        return better

    @property
    def out_of_patience(self) -> bool:
        """Whether early stopping ends the run."""
        patience = self.job.config.early_stopping_patience
        return patience is not None and self.waited >= patience

    def final(self) -> tuple[Weights, Shared]:
        """The network to report on: the best epoch's with early stopping, else the last."""
        if self.job.config.early_stopping_patience is not None and self.best is not None:
            return self.best.weights, self.best.shared
        return self.weights(self.round - 1), self.average(self.round - 1)

    def save(self) -> tuple[Parts, dict[str, Any]]:
        """What a checkpoint holds. Blocks that ran ahead of the open round go back to its end."""
        open_ends = self.ends.get(self.round, {})
        kept = {t: open_ends.get(t, self.latest[t]) for t in self.blocks}
        parts: Parts = {_stem("block", t): dict(s.tensors) for t, s in kept.items()}
        # Blocks may already have ended the round after the open one and been averaged again.
        complete = len(open_ends) == len(self.blocks) and self.job.learns_embedding(self.round)
        parts["shared"] = dict(self.average(self.round) if complete else self.shared)
        if self.best is not None:
            parts |= {_stem("best", t): dict(w) for t, w in self.best.weights.items()}
            parts["best-shared"] = dict(self.best.shared)
        state = {
            "config": self.job.config.to_dict(),
            "steps": {str(t): s.step for t, s in kept.items()},
            "round": self.round,
            "rates": {str(t): r for t, r in self.rates.get(self.round, {}).items()},
            "history": self.history.to_dict(),
            "best": self.best and {"epoch": self.best.epoch, "accuracy": self.best.accuracy},
            "waited": self.waited,
            "lr_scale": self.lr_scale,
            "train_seconds": self.train_seconds,
        }
        return parts, state

    @classmethod
    def restore(cls, job: Job, parts: Parts, state: dict[str, Any]) -> "Rounds":
        """The inverse of ``save``."""
        rounds = cls(
            job,
            shared=parts["shared"],
            round=state["round"],
            history=History.from_dict(state["history"]),
            waited=state["waited"],
            lr_scale=state["lr_scale"],
            train_seconds=state["train_seconds"],
        )
        rates = {int(t): r for t, r in state["rates"].items()}
        for t in rounds.blocks:
            step = state["steps"][str(t)]
            snapshot = Snapshot(t, step, parts[_stem("block", t)])
            rounds.latest[t] = snapshot
            # A block at a round's end has ended that round: the open one, or the one before it.
            if step and step % job.steps_per_epoch == 0:
                rounds.ends.setdefault(step // job.steps_per_epoch - 1, {})[t] = snapshot
        rounds.rates[rounds.round] = rates
        if state["best"] is not None:
            weights = {t: parts[_stem("best", t)] for t in rounds.blocks}
            rounds.best = Best(**state["best"], weights=weights, shared=parts["best-shared"])
        return rounds


def _stem(kind: str, t: int) -> str:
    return f"{kind}-{t:03d}"

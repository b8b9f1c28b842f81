"""The state of a run between units, and what may be done next: a machine without a clock.

A round is one epoch of every block. Fixed embeddings let a block run ahead of the slowest, bounded
by memory; learned ones, and a plateau learning rate, make the next round wait for this one. A block
that keeps failing is set aside, and the others go on without it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from torch import Tensor

from noprop_dist.engine.evaluate import EvalResult, Weights
from noprop_dist.engine.job import Job
from noprop_dist.engine.snapshot import (
    EpochEnd,
    Shared,
    Snapshot,
    average_shared,
    first_snapshot,
)
from noprop_dist.engine.unit import Unit
from noprop_dist.model.answering import MEAN
from noprop_dist.record.history import BlockEpoch, History
from noprop_dist.record.network_files import describe

AHEAD_BYTES = 2**30  # what the ends of epochs that are not yet closed may take

Parts = dict[str, dict[str, Tensor]]


@dataclass
class Best:
    """The epoch of the best validation accuracy so far; its network under early stopping alone."""

    epoch: int
    accuracy: float
    weights: Weights = field(default_factory=dict)
    shared: Shared = field(default_factory=dict)


@dataclass
class Rounds:
    """Snapshots, the shared part, and what evaluation has decided.

    Attributes:
        job: the run.
        shared: class embeddings and readout that the next round starts from.
        latest: by t, the newest snapshot.
        round: the oldest epoch that is not yet closed (0-based).
        ends: by epoch and t, what is kept of the epoch's end, until the next one is closed.
        history: of closed epochs.
        best: best epoch, where there is a validation split.
        waited: closed epochs since the best.
        lr_scale: what feedback has made of the learning rate.
        train_seconds: wall time of training so far.
        set_aside: by t, why a block was given up.
        num_complete: epochs that every block has ended, whoever was set aside later.
        ended: whether a callback has ended the run, with the newest closed epoch.
    """

    job: Job
    shared: Shared
    latest: dict[int, Snapshot] = field(default_factory=dict)
    round: int = 0
    ends: dict[int, dict[int, EpochEnd]] = field(default_factory=dict)
    history: History = field(default_factory=History)
    best: Best | None = None
    waited: int = 0
    lr_scale: float = 1.0
    train_seconds: float = 0.0
    set_aside: dict[int, str] = field(default_factory=dict)
    num_complete: int = 0
    ended: bool = False

    @cached_property
    def blocks(self) -> list[int]:
        """The blocks that the run trains, in order: 1..T, or some of them."""
        return self.job.config.chosen

    @property
    def active(self) -> list[int]:
        """The blocks that are not set aside, in order."""
        return [t for t in self.blocks if t not in self.set_aside]

    def start(self) -> None:
        """Every block before its first step."""
        self.latest = {t: first_snapshot(self.job, t, self.shared) for t in self.blocks}

    def next_unit(self, t: int, max_steps: int | None = None) -> Unit | None:
        """What block t may train now, or None: it waits for the others or has finished.

        Args:
            t: the block.
            max_steps: cut the unit here; units never cross an epoch's end. No cut changes a weight.
        """
        snapshot, job = self.latest[t], self.job
        epoch, offset = divmod(snapshot.step, job.steps_per_epoch)
        out = t in self.set_aside or epoch >= job.config.epochs
        if out or epoch > self.round + self._ahead(epoch):
            return None
        left = job.steps_per_epoch - offset
        averaged = offset == 0 and epoch > 0 and job.learns_embedding(epoch - 1)
        return Unit(
            snapshot,
            left if max_steps is None else min(left, max(1, max_steps)),
            shared=self.shared if averaged else None,
            lr_scale=self.lr_scale,
        )

    def _ahead(self, epoch: int) -> int:
        """How many rounds ``epoch`` may be ahead of the oldest open one."""
        if self.job.lr_schedule.feedback is not None:
            return 0
        if epoch > 0 and self.job.learns_embedding(epoch - 1):
            # The average is there as soon as every block has ended the round before.
            return 1 if self.is_complete(epoch - 1) else 0
        return max(1, AHEAD_BYTES // (self._block_bytes * len(self.blocks)))

    @cached_property
    def _block_bytes(self) -> int:
        return sum(v.nbytes for v in self.latest[self.blocks[0]].part("block").values())

    def is_complete(self, epoch: int) -> bool:
        """Whether every block that is not set aside has ended ``epoch``."""
        return epoch < self.num_complete

    def take(self, snapshot: Snapshot, images_per_s: float) -> int | None:
        """Keep a unit's snapshot; the epoch that it completes for all blocks, if it does."""
        self.latest[snapshot.t] = snapshot
        epoch, offset = divmod(snapshot.step, self.job.steps_per_epoch)
        if offset:
            return None
        ends = self.ends.setdefault(epoch - 1, {})
        ends[snapshot.t] = snapshot.epoch_end(images_per_s)
        return epoch - 1 if self._complete(epoch - 1) else None

    def give_up(self, t: int, reason: str) -> list[int]:
        """Set block t aside; the epochs that are complete without it.

        In those that were complete before it stays, or timing would change the average.
        """
        self.set_aside[t] = reason
        for epoch, ends in self.ends.items():
            if epoch >= self.num_complete:
                ends.pop(t, None)
        completed = []
        while self.active and self._complete(self.num_complete):
            completed.append(self.num_complete - 1)
        return completed

    def _complete(self, epoch: int) -> bool:
        """Whether ``epoch`` is the next to be complete, and is now."""
        ends = self.ends.get(epoch, {})
        num_active = len(self.blocks) - len(self.set_aside)
        # Counted: what has ended an open epoch is active, and this is asked after every unit.
        if epoch != self.num_complete or len(ends) < num_active:
            return False
        self.num_complete += 1
        if self.job.learns_embedding(epoch):
            self.shared = self.average(epoch)
        return True

    def average(self, epoch: int) -> Shared:
        """The shared part at the end of ``epoch``: the mean of the blocks' copies."""
        ends = self.ends[epoch]
        return average_shared([ends[t].shared for t in sorted(ends)])

    def weights(self, epoch: int) -> Weights:
        """Every block's weights at the end of ``epoch``.

        In the place of a block that was set aside stands its nearest neighbour, the earlier one
        where two are as near: it has learned to denoise from almost the same noise.
        """
        ends = self.ends[epoch]
        nearest = nearest_blocks(ends, self.blocks)
        return {t: ends[nearest[t]].weights for t in self.blocks}

    def close(
        self, result: EvalResult | None, metrics: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        """Close the oldest open epoch with its evaluation, None without a validation split.

        Metrics are a user's own, of the same.
        """
        epoch, job = self.round, self.job
        blocks = {}
        for t, end in sorted(self.ends[epoch].items()):
            loss, right, images = end.tally.tolist()
            blocks[t] = BlockEpoch(loss / images, right / images, end.images_per_s)
        lr = job.lr((epoch + 1) * job.steps_per_epoch - 1, self.lr_scale)
        z_T = result.accuracy()[0] if result else None  # noqa: N806
        mean = result.accuracy(MEAN)[0] if result else None
        self.history.record(blocks, z_T, mean, lr, metrics)
        if z_T is not None and (self.best is None or z_T > self.best.accuracy):
            self.best = Best(epoch, z_T)
            if job.config.early_stopping_patience is not None:
                self.best = Best(epoch, z_T, self.weights(epoch), self.average(epoch))
            self.waited = 0
        elif z_T is not None:
            self.waited += 1
            if (feedback := job.lr_schedule.feedback) is not None:
                self.lr_scale *= feedback(self.waited, job.config.lr_patience)
        self.round += 1
        self.ends.pop(epoch - 1, None)

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
        """What a checkpoint holds: tensors by file, and plain values."""
        parts: Parts = {stem("block", t): dict(s.tensors) for t, s in self.latest.items()}
        parts["shared"] = dict(self.shared)
        rates = {}
        for epoch, ends in self.ends.items():
            for t, end in ends.items():
                if self.latest[t].step == (epoch + 1) * self.job.steps_per_epoch:
                    rates[str(t)] = end.images_per_s  # the rest is in the block's own file
                elif epoch >= self.round:
                    parts[stem(f"end-{epoch}", t)] = end.to_tensors()
        if self.best is not None and self.best.weights:
            parts |= {stem("best", t): dict(w) for t, w in self.best.weights.items()}
            parts["best-shared"] = dict(self.best.shared)
        job = self.job
        network = describe(job.spec, job.normalisation, job.class_names, job.fingerprint["data"])
        state = {
            "config": job.config.to_dict(),
            "network": network,
            "fingerprint": job.fingerprint,
            "steps": {str(t): s.step for t, s in self.latest.items()},
            "round": self.round,
            "rates": rates,
            "history": self.history.to_dict(),
            "best": self.best and {"epoch": self.best.epoch, "accuracy": self.best.accuracy},
            "waited": self.waited,
            "lr_scale": self.lr_scale,
            "train_seconds": self.train_seconds,
            "set_aside": {str(t): reason for t, reason in self.set_aside.items()},
            "num_complete": self.num_complete,
            "ended": self.ended,
        }
        return parts, state

    @classmethod
    def restore(cls, job: Job, parts: Parts, state: dict[str, Any]) -> "Rounds":
        """The inverse of ``save``."""
        rounds = cls(
            job,
            shared=parts["shared"],
            round=state["round"],
            history=History(**state["history"]),
            waited=state["waited"],
            lr_scale=state["lr_scale"],
            train_seconds=state["train_seconds"],
            set_aside={int(t): reason for t, reason in state["set_aside"].items()},
            num_complete=state["num_complete"],
            ended=state.get("ended", False) and state["config"]["epochs"] == job.config.epochs,
        )
        for t in rounds.blocks:
            snapshot = Snapshot(t, state["steps"][str(t)], parts[stem("block", t)])
            rounds.latest[t] = snapshot
            if (rate := state["rates"].get(str(t))) is not None:
                epoch = snapshot.step // job.steps_per_epoch - 1
                rounds.ends.setdefault(epoch, {})[t] = snapshot.epoch_end(rate)
        for name, tensors in parts.items():
            if name.startswith("end-"):
                _, epoch, t = map(int, name.replace("end", "0").split("-"))
                rounds.ends.setdefault(epoch, {})[t] = EpochEnd.from_tensors(tensors)
        if state["best"] is not None:
            rounds.best = Best(**state["best"])
            if job.config.early_stopping_patience is not None:
                rounds.best.weights = {t: parts[stem("best", t)] for t in rounds.blocks}
                rounds.best.shared = parts["best-shared"]
        return rounds


def nearest_blocks(there: Iterable[int], wanted: Iterable[int]) -> dict[int, int]:
    """By wanted block, itself where it is there, else its nearest neighbour that is."""
    found = sorted(there)
    return {t: min(found, key=lambda s: (abs(s - t), s)) for t in wanted}


def stem(kind: str, t: int) -> str:
    """What a checkpoint calls the part of block t."""
    return f"{kind}-{t:03d}"

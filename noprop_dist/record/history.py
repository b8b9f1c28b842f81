"""What happened epoch by epoch, as lists that any plotting tool can read."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from noprop_dist.errors import UserError
from noprop_dist.record.folder import Reader
from noprop_dist.record.store import Store
from noprop_dist.run_files import HISTORY

MOST_BLOCKS = 10_000


class BlockEpoch(NamedTuple):
    """One block's epoch: mean loss in nats, own accuracy as a fraction (with dropout on), speed."""

    loss: float
    accuracy: float
    images_per_s: float


@dataclass
class History:
    """Lists by epoch; losses in nats, accuracies as fractions.

    Attributes:
        train_loss_history: mean over blocks of the epoch's mean loss.
        train_accuracy_history: mean over blocks of the block's own accuracy.
        val_accuracy_history: validation accuracy of z_T, None where there is no validation split.
        val_accuracy_mean_softmax_history: the same for the mean of the blocks' softmaxes.
        lr_history: learning rate at the epoch's last step.
        blocks: by t, the lists ``loss``, ``accuracy`` and ``images_per_s``.
    """

    train_loss_history: list[float] = field(default_factory=list)
    train_accuracy_history: list[float] = field(default_factory=list)
    val_accuracy_history: list[float | None] = field(default_factory=list)
    val_accuracy_mean_softmax_history: list[float | None] = field(default_factory=list)
    lr_history: list[float] = field(default_factory=list)
    blocks: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def record(
        self,
        blocks: Mapping[int, BlockEpoch],
        val_z_T: float | None,  # noqa: N803
        val_mean_softmax: float | None,
        lr: float,
    ) -> None:
        """Add an epoch that every block has finished."""
        for t, epoch in sorted(blocks.items()):
            lists = self.blocks.setdefault(str(t), {name: [] for name in BlockEpoch._fields})
            for name, value in epoch._asdict().items():
                lists[name].append(value)
        self.train_loss_history.append(sum(b.loss for b in blocks.values()) / len(blocks))
        self.train_accuracy_history.append(sum(b.accuracy for b in blocks.values()) / len(blocks))
        self.val_accuracy_history.append(val_z_T)
        self.val_accuracy_mean_softmax_history.append(val_mean_softmax)
        self.lr_history.append(lr)

    def numbers(self, epoch: int) -> dict[str, float]:
        """What there is to say of an epoch, counted from 1, by a name such as "train/loss"."""
        i = epoch - 1
        found = {
            "train/loss": self.train_loss_history[i],
            "train/accuracy": self.train_accuracy_history[i],
            "val/accuracy_z_T": self.val_accuracy_history[i],
            "val/accuracy_mean_softmax": self.val_accuracy_mean_softmax_history[i],
            "lr": self.lr_history[i],
        }
        for t, lists in self.blocks.items():
            if i < len(lists["loss"]):  # else the block was set aside
                found[f"block_loss/{int(t):03d}"] = lists["loss"][i]
                found[f"block_accuracy/{int(t):03d}"] = lists["accuracy"][i]
        return {name: value for name, value in found.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; the content of ``training_history.json``."""
        values = {name: list(found) for name, found in vars(self).items() if name != "blocks"}
        blocks = {t: {k: list(v) for k, v in lists.items()} for t, lists in self.blocks.items()}
        return values | {"blocks": blocks}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "History":
        """The inverse of ``to_dict``."""
        return cls(**values)


def read_history(store: Store) -> History | None:
    """The history of a run folder, or None where it has none yet; see ``parse_history``.

    Raises:
        UserError: the file is damaged or cannot be read.
    """
    data = Reader(store).read(HISTORY)
    return None if data is None else parse_history(data, f"{store.root}/{HISTORY}")


def parse_history(data: bytes, where: str) -> History:
    """The lists that ``data`` holds; what is missing stays empty, what is unknown is passed over.

    It may be written by hand or by another version.

    Args:
        data: JSON. Numbers are lists by epoch; null, and a number that is not finite, is a gap.
        where: what to call it.

    Returns:
        Its lists, with NaN for gaps.

    Raises:
        UserError: it is damaged.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not what a run writes: it is no JSON ({error}).") from error
    if not isinstance(values, dict):
        raise _foreign(where, "it must hold one object of lists by epoch, such as lr_history")
    history = History()
    for name in (f.name for f in fields(History) if f.name != "blocks"):
        setattr(history, name, _numbers(values.get(name), name, where))
    blocks = values.get("blocks") or {}
    if not isinstance(blocks, dict):
        raise _foreign(where, "its blocks must be an object of blocks by number")
    for t, lists in blocks.items():
        if not isinstance(lists, dict):
            raise _foreign(where, f"its block {t} must be an object of lists by epoch")
        if t.isdecimal():
            if not 1 <= int(t) <= MOST_BLOCKS:
                raise _foreign(where, f"its blocks are numbered 1 to {MOST_BLOCKS}, and one is {t}")
            history.blocks[str(int(t))] = {
                name: _numbers(lists.get(name), name, where) for name in BlockEpoch._fields
            }
    return history


def _numbers(values: Any, name: str, where: str) -> list[float]:
    if values is None:
        return []
    if not isinstance(values, list):
        raise _foreign(where, f"its {name} must be a list of numbers or null by epoch")
    for value in values:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise _foreign(where, f"its {name} holds {str(value)[:40]!r}, which is no number")
    return [_finite(value) for value in values]


def _finite(value: float | None) -> float:
    try:
        return float(value) if value is not None and math.isfinite(value) else math.nan
    except OverflowError:  # a whole number beyond any float
        return math.nan


def _foreign(where: str, what: str) -> UserError:
    return UserError(f"{where} is not what a run writes: {what}.")

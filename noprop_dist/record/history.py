"""What happened epoch by epoch, as lists that any plotting tool can read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from noprop_dist.record.checked import as_written, foreign, read_json
from noprop_dist.record.store import Store

FILE = "training_history.json"


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
    """The history of a run folder, or None where it has none yet.

    Raises:
        UserError: the file is damaged, or of another version.
    """
    values = read_json(store, FILE)
    if values is None:
        return None
    history = as_written(History, values, store, FILE)
    lists = [found for name, found in vars(history).items() if name != "blocks"]
    if len({len(found) for found in lists}) > 1:
        raise foreign(store, FILE, "its lists are not equally long")
    for t, block in history.blocks.items():
        if not t.isdecimal() or not block.keys() >= set(BlockEpoch._fields):
            raise foreign(store, FILE, f"blocks.{t} is no block's record")
    return history

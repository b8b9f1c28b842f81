"""What happened epoch by epoch, as lists that any plotting tool can read."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class History:
    """Lists by epoch; losses in nats, accuracies as fractions.

    Attributes:
        train_loss_history: mean over blocks of the epoch's mean loss.
        train_accuracy_history: mean over blocks of the block's own accuracy, with dropout on.
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

    def record_block(self, t: int, loss: float, accuracy: float, images_per_s: float) -> None:
        """Add one finished epoch of block t."""
        lists = self.blocks.setdefault(str(t), {"loss": [], "accuracy": [], "images_per_s": []})
        lists["loss"].append(loss)
        lists["accuracy"].append(accuracy)
        lists["images_per_s"].append(images_per_s)

    def record_epoch(self, val_z_T: float | None, val_mean: float | None, lr: float) -> None:  # noqa: N803
        """Close an epoch that every block has finished."""
        epoch = len(self.lr_history)
        blocks = self.blocks.values()
        self.train_loss_history.append(_mean([b["loss"][epoch] for b in blocks]))
        self.train_accuracy_history.append(_mean([b["accuracy"][epoch] for b in blocks]))
        self.val_accuracy_history.append(val_z_T)
        self.val_accuracy_mean_softmax_history.append(val_mean)
        self.lr_history.append(lr)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; the content of ``training_history.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "History":
        """The inverse of ``to_dict``."""
        return cls(**values)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)

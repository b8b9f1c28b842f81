"""What happened epoch by epoch, as lists that any plotting tool can read."""

import math
import sys
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from noprop_dist.errors import needing
from noprop_dist.record.folder import Reader
from noprop_dist.record.store import Store
from noprop_dist.run_files import HISTORY

if TYPE_CHECKING:
    import pandas

NO_PANDAS = "a table for pandas needs it: install pandas."
MOST_BLOCKS = 10_000
NESTED = ("blocks", "metrics")


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
        metrics: by name, validation values of a user's own metrics, None where there was none.
    """

    train_loss_history: list[float] = field(default_factory=list)
    train_accuracy_history: list[float] = field(default_factory=list)
    val_accuracy_history: list[float | None] = field(default_factory=list)
    val_accuracy_mean_softmax_history: list[float | None] = field(default_factory=list)
    lr_history: list[float] = field(default_factory=list)
    blocks: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    metrics: dict[str, list[float | None]] = field(default_factory=dict)

    def record(
        self,
        blocks: Mapping[int, BlockEpoch],
        val_z_T: float | None,  # noqa: N803
        val_mean_softmax: float | None,
        lr: float,
        metrics: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Add an epoch that every block has finished."""
        for name in self.metrics.keys() | metrics.keys():  # some may be new, or not given any more
            values = self.metrics.setdefault(name, [None] * self.num_epochs)
            values.append(metrics.get(name))
        for t, epoch in sorted(blocks.items()):
            lists = self.blocks.setdefault(str(t), {name: [] for name in BlockEpoch._fields})
            for name, value in epoch._asdict().items():
                lists[name].append(value)
        self.train_loss_history.append(sum(b.loss for b in blocks.values()) / len(blocks))
        self.train_accuracy_history.append(sum(b.accuracy for b in blocks.values()) / len(blocks))
        self.val_accuracy_history.append(val_z_T)
        self.val_accuracy_mean_softmax_history.append(val_mean_softmax)
        self.lr_history.append(lr)

    @property
    def num_epochs(self) -> int:
        """Epochs that every block has ended."""
        return len(self.train_loss_history)

    @property
    def best(self) -> tuple[int, float] | None:
        """The epoch (from 1) of the best validation accuracy of z_T, and it as a fraction."""
        known = [
            (value, -epoch)
            for epoch, value in enumerate(self.val_accuracy_history, start=1)
            if value is not None and math.isfinite(value)
        ]
        if not known:
            return None
        accuracy, epoch = max(known)
        return -epoch, accuracy

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
        found |= {f"val/{name}": values[i] for name, values in self.metrics.items()}
        for t, lists in self.blocks.items():
            if i < len(lists["loss"]):  # else the block was set aside
                found[f"block_loss/{int(t):03d}"] = lists["loss"][i]
                found[f"block_accuracy/{int(t):03d}"] = lists["accuracy"][i]
        return {name: value for name, value in found.items() if value is not None}

    def to_pandas(self) -> "pandas.DataFrame":
        """A row per epoch, counted from 1, and a column per name of ``numbers``.

        Raises:
            UserError: pandas is not installed.
        """
        with needing("pandas", NO_PANDAS):
            import pandas
        epochs = range(1, self.num_epochs + 1)
        return pandas.DataFrame(
            [self.numbers(epoch) for epoch in epochs], index=pandas.Index(epochs, name="epoch")
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; the content of ``training_history.json``."""
        nested = {"blocks": self.blocks} | ({"metrics": self.metrics} if self.metrics else {})
        values = {name: found for name, found in vars(self).items() if name not in NESTED}
        return deepcopy(values | nested)


def read_history(store: Store, file: str = HISTORY) -> History | None:
    """The lists of a history, None where there is no file; what is missing stays empty.

    It may be written by hand or by another version: what is unknown is passed over.

    Args:
        store: where it lies.
        file: JSON. Numbers are lists by epoch; null, and a number that is not finite, is a gap.

    Returns:
        Its lists, with NaN for gaps.

    Raises:
        UserError: it is damaged or cannot be read.
    """
    reader = Reader(store)
    values = reader.json(file)
    if values is None:
        return None
    history = History()
    try:
        for name in (f.name for f in fields(History) if f.name not in NESTED):
            setattr(history, name, _numbers(values, name))
        metrics = _object(values.get("metrics") or {}, "its metrics")
        history.metrics = {name: list(_numbers(metrics, name)) for name in metrics}
        for t, lists in _object(values.get("blocks") or {}, "its blocks").items():
            if t.isdecimal():
                if not 1 <= int(t) <= MOST_BLOCKS:
                    raise TypeError(f"its blocks are numbered 1 to {MOST_BLOCKS}, and one is {t}")
                lists = _object(lists, f"its block {t}")
                own = {name: _numbers(lists, name) for name in BlockEpoch._fields}
                history.blocks[str(int(t))] = own
    except TypeError as error:
        raise reader.foreign(file, error) from error
    return history


def _object(values: Any, what: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise TypeError(f"{what} must be an object")
    return values


def _numbers(lists: dict[str, Any], name: str) -> list[float]:
    values = lists.get(name)
    if values is None:
        return []
    if not isinstance(values, list):
        raise TypeError(f"its {name} must be a list of numbers or null by epoch")
    for value in values:
        if value is not None and type(value) not in (int, float):
            raise TypeError(f"its {name} holds {str(value)[:40]!r}, which is no number")
    most = sys.float_info.max  # a whole number may lie beyond any float
    return [math.nan if v is None or not abs(v) <= most else float(v) for v in values]

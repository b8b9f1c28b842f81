"""torchvision's small image sets, downloaded where there is a network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noprop_dist.data.account import Account, Reading
from noprop_dist.data.dataset import Found
from noprop_dist.data.images import fit_batch
from noprop_dist.data.shards import Array, Rows, Split
from noprop_dist.errors import UserError

DEFAULT_DIR = "~/.cache/noprop_dist"


@dataclass(frozen=True)
class _Set:
    class_name: str
    photographs: bool
    by_split: bool = False  # SVHN is asked for by split="train", the others by train=True


TORCHVISION_SETS = {
    "mnist": _Set("MNIST", photographs=False),
    "fashion-mnist": _Set("FashionMNIST", photographs=False),
    "kmnist": _Set("KMNIST", photographs=False),
    "cifar10": _Set("CIFAR10", photographs=True),
    "cifar100": _Set("CIFAR100", photographs=True),
    "svhn": _Set("SVHN", photographs=False, by_split=True),
}


def load_torchvision(name: str, reading: Reading, data_dir: str | None) -> Found:
    """Load one of TORCHVISION_SETS from ``data_dir``, downloading it first if need be.

    Raises:
        UserError: it is neither there nor can it be downloaded.
    """
    root = Path(data_dir or DEFAULT_DIR).expanduser()
    (train_set, train), (_, test) = (
        _load_split(name, root, which, reading) for which in (True, False)
    )
    classes = getattr(train_set, "classes", None) or [str(k) for k in range(10)]
    return Found(
        name=name,
        class_names=tuple(map(str, classes)),
        named=True,
        splits={"train": train, "test": test},
        photographs=TORCHVISION_SETS[name].photographs,
        account=Account(f"torchvision's {TORCHVISION_SETS[name].class_name}"),
    )


def _load_split(name: str, root: Path, train: bool, reading: Reading) -> tuple[Any, Split]:
    from torchvision import datasets  # slow import, for these sources alone

    known = TORCHVISION_SETS[name]
    make = getattr(datasets, known.class_name)
    kwargs = {"split": "train" if train else "test"} if known.by_split else {"train": train}
    try:
        try:
            loaded = make(root, download=False, **kwargs)
        except RuntimeError:  # torchvision's word for "not there"
            loaded = make(root, download=True, **kwargs)
    except (OSError, RuntimeError) as error:
        _remove_empty(root / known.class_name)
        reason = " ".join(str(error).split())
        raise UserError(
            f"--dataset {name} is not in {root} and could not be downloaded ({reason}): put it "
            "there, point --data-dir at a copy, or give the path of a folder or Parquet copy."
        ) from error
    x, y = _arrays(loaded)
    return loaded, Split.from_arrays(fit_batch(x, reading), y)


def _remove_empty(folder: Path) -> None:
    """Undo the folders that a failed download made, and none that holds a file."""
    for path in [*sorted(folder.rglob("*"), reverse=True), folder, folder.parent]:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _arrays(loaded: Any) -> tuple[Array, Rows]:
    """Uint8 (N, C, H, W) and int64 (N,) of any of the sets."""
    x = np.asarray(loaded.data)
    y = np.asarray(loaded.labels if hasattr(loaded, "labels") else loaded.targets, dtype=np.int64)
    if x.ndim == 3:
        return x[:, None], y
    if x.shape[-1] == 3:
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), y
    return x, y

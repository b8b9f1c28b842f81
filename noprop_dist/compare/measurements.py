"""What is measured of one method with one seed, and how a comparison keeps it."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from noprop_dist.compare.compare_options import METHODS
from noprop_dist.config import TrainConfig
from noprop_dist.engine.resume import check_same_options
from noprop_dist.errors import UserError
from noprop_dist.record.folder import Reader
from noprop_dist.record.store import Store
from noprop_dist.run_files import CHECKPOINTS, COMPARISON, RESULT

RUN_FILES = (RESULT, CHECKPOINTS)  # of a training run: not ours to write beside
REMEDY = "delete it, and the same command measures it again"


@dataclass(frozen=True)
class Measured:
    """One method trained once.

    Attributes:
        method: of ``METHODS``.
        seed: of every random number.
        devices: that trained at once.
        images: that an epoch trains on, in whole batches; NoProp trains T blocks on each.
        test_accuracy: fractions, by noise draw.
        val_accuracy: fractions, by epoch; None without a validation split.
        seconds: by epoch, from the first step to its end, validation included.
        sent_bytes: between processes in an epoch, on average; None where it cannot be counted.
        reduced_bytes: gradients given to the all-reduce in an epoch, by each worker; None: none.
        peak_bytes: the most memory of each worker; see ``Memory``.
        own_bytes: the most memory of each worker without the object store's.
        mean_accuracy: test accuracy of the mean of the blocks' softmaxes, by noise draw.
        operations: floating-point operations of training, all of it; see ``Flops``.
    """

    method: str
    seed: int
    devices: int
    images: int
    test_accuracy: list[float]
    val_accuracy: list[float | None]
    seconds: list[float]
    sent_bytes: float | None
    reduced_bytes: float | None
    peak_bytes: list[int]
    own_bytes: list[int]
    mean_accuracy: list[float] | None = None
    operations: int | None = None

    @property
    def mean_test_accuracy(self) -> float:
        """Over the noise draws."""
        return sum(self.test_accuracy) / len(self.test_accuracy)

    @property
    def seconds_per_epoch(self) -> float:
        """On average."""
        return self.seconds[-1] / len(self.seconds)

    @property
    def images_per_s(self) -> float:
        """Trained on per second of an epoch, of all devices together."""
        return self.images / self.seconds_per_epoch

    def epoch_of(self, target: float) -> int | None:
        """The first epoch (from 1) whose validation accuracy is at least ``target``."""
        for epoch, accuracy in enumerate(self.val_accuracy, start=1):
            if accuracy is not None and accuracy >= target:
                return epoch
        return None


class Results:
    """The finished methods of a comparison's folder.

    Args:
        store: the folder.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reader = Reader(store, "a comparison", REMEDY)
        self._claim: dict[str, Any] = {}

    def check(self, config: TrainConfig, settings: dict[str, Any], data: str) -> bool:
        """See that the folder is free, or this comparison's already.

        Args:
            config: the run's options.
            settings: what else has to be the same for numbers to stand in one table.
            data: a hash of all rows.

        Returns:
            Whether it is this comparison's.

        Raises:
            UserError: the folder holds something else.
        """
        there = self._reader.json(COMPARISON)
        if there is None:
            taken = [name for name in RUN_FILES if self._store.exists(name)]
            if taken:
                raise UserError(
                    f"{self._store.root} holds a training run ({taken[0]}): give the comparison "
                    "another --name or --run-dir."
                )
            return False
        another = "give the same options, or another --name or --run-dir."
        check_same_options(config, there["config"], self._store.root, another)
        if there["data"] != data:
            raise UserError(
                f"{self._store.root} holds a comparison on other data than {config.dataset} has "
                "now: restore the data, or give another --name or --run-dir."
            )
        differing = [
            f"{name.replace('_', ' ')} {there['settings'].get(name)} there, {value} now"
            for name, value in settings.items()
            if there["settings"].get(name) != value
        ]
        if differing:
            raise UserError(
                f"{self._store.root} holds a comparison of another kind ({'; '.join(differing)}): "
                f"{another}"
            )
        return True

    def claim(self, config: TrainConfig, settings: dict[str, Any], data: str) -> None:
        """Make the folder this comparison's with what is first put there; see ``check``."""
        if not self.check(config, settings, data):
            self._claim = {"config": config.to_dict(), "settings": settings, "data": data}

    def settings(self) -> dict[str, Any]:
        """What the folder was claimed with."""
        settings: dict[str, Any] = (self._reader.json(COMPARISON) or {})["settings"]
        return settings

    def get(self, method: str, seed: int, *, alone: bool = False) -> Measured | None:
        """What was measured before, of a method on all devices or on one ``alone``."""
        path = _path(method, seed, alone)
        return self._reader.typed(path, Measured)

    def put(self, measured: Measured, *, alone: bool = False) -> None:
        """Keep it."""
        if self._claim:
            self._store.write(COMPARISON, json.dumps(self._claim, indent=1).encode())
            self._claim = {}
        path = _path(measured.method, measured.seed, alone)
        self._store.write(path, json.dumps(asdict(measured), indent=1).encode())


def _path(method: str, seed: int, alone: bool) -> str:
    assert method in METHODS
    return f"measured/{method}-{seed}{'-alone' if alone else ''}.json"

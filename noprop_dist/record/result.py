"""The numbers of a finished run, and how they are made from counts."""

import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from noprop_dist.maths.chance import Z_95, variance_of_rows
from noprop_dist.record.folder import Reader
from noprop_dist.record.history import History, read_history
from noprop_dist.record.store import Store
from noprop_dist.run_files import RESULT

if TYPE_CHECKING:
    from noprop_dist.record.trained import TrainedNetwork

REMEDY = "delete it, and the same command makes it again from the last checkpoint"


@dataclass(frozen=True)
class Accuracy:
    """Accuracy over noise draws, as fractions.

    Attributes:
        mean: over the draws.
        stderr: standard error of the mean, of the draws alone.
        draws: of each.
        margin: half the width of a 95 % interval that holds the chance of the draws and that of
            the rows, had others been drawn; None in runs of older versions.
    """

    mean: float
    stderr: float
    draws: list[float]
    margin: float | None = None

    def __str__(self) -> str:
        """In %, with the margin where it is known."""
        margin = "" if self.margin is None else f" +- {100 * self.margin:.2f}"
        return f"{100 * self.mean:.2f}{margin}"


@dataclass(frozen=True)
class TrainResult:
    """The numbers of a finished run; ``result.json`` holds the same fields but the folder.

    Attributes:
        folder: the run folder.
        test_accuracy: by readout: "z_T", the paper's, "mean_softmax" and the others of READOUTS.
        test_measures: by readout, means over draws: "negative_log_likelihood" in nats a row,
            "top5_accuracy" where K > 5, "auroc" where K = 2; empty in runs of older versions.
        accuracy_after_t: (T,) test accuracy of the readout of z_t, t = 1..T, mean over draws.
        block_accuracy: (T,) test accuracy of each block's own softmax, mean over draws.
        block_sha256: by t, hash of the block's weights in the assembled network.
        confusion: (K, K) counts by true label and z_T's answer, first draw.
        train_seconds: wall time of training, validation included.
        epochs: epochs trained.
        config: the options.
        versions: of Python and the libraries that fix the bits.
        precision: "fp32" or "bf16".
        num_skipped: bad images left out.
        set_aside: by t, why a block was given up; empty where all is well.
        fingerprint: hashes of the data and what else fixes the numbers.
        answering: what the network answers by where nothing is asked for; see ``Answering``.
        metrics: by name, a user's own metrics on the test split, first draw.
        cost: of a block and of all T, before the run: "block_parameters", "block_forward_flops" and
            "block_training_flops" for an image, "block_training_bytes" of memory; the same of
            "network_"; empty in runs of older versions.
    """

    folder: str
    test_accuracy: dict[str, Accuracy]
    accuracy_after_t: list[float]
    block_accuracy: list[float]
    block_sha256: dict[str, str]
    confusion: list[list[int]]
    train_seconds: float
    epochs: int
    config: dict[str, Any]
    versions: dict[str, str]
    precision: str
    num_skipped: int
    set_aside: dict[str, str]
    fingerprint: dict[str, str] = field(default_factory=dict)
    test_measures: dict[str, dict[str, float]] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    answering: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, int] = field(default_factory=dict)

    @property
    def history(self) -> History:
        """The run's numbers by epoch, from its folder.

        Raises:
            UserError: they are damaged or cannot be read.
        """
        return read_history(Store(self.folder)) or History()

    @property
    def network(self) -> "TrainedNetwork":
        """The run's network, loaded from its folder onto the CPU.

        A block of the user's own needs no word more where this process trained the run; elsewhere
        see ``load_network``.

        Raises:
            UserError: it is gone, or was altered, or has a block whose code was not named here.
        """
        from noprop_dist.model.own_block import run_here
        from noprop_dist.record.network_files import load_network

        return load_network(self.folder, block=run_here(self.fingerprint.get("block")))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return asdict(self)


def read_result(store: Store) -> TrainResult | None:
    """The numbers of a run folder, or None where the run has not finished.

    Raises:
        UserError: the file is damaged, or of another version.
    """
    reader = Reader(store, remedy=REMEDY)
    result = reader.typed(RESULT, TrainResult, {"folder": store.root})
    if result is None:
        return None
    for readout in ("z_T", "mean_softmax"):
        if readout not in result.test_accuracy:
            raise reader.foreign(RESULT, f"it lacks test_accuracy.{readout}")
    return result


def measured(values: Mapping[str, Any]) -> dict[str, str]:
    """What there is of ``TrainResult.test_measures`` in ``values``, in words."""
    forms = {
        "negative_log_likelihood": ("negative log-likelihood", "{:.4f} nats"),
        "top5_accuracy": ("top-5 accuracy", "{:.2%}"),
        "auroc": ("AUROC", "{:.4f}"),
    }
    return {name: form.format(values[k]) for k, (name, form) in forms.items() if k in values}


def accuracy_over(draws: list[float], rows: int) -> Accuracy:
    """Of at least one draw over so many rows; the standard error of one is 0."""
    mean = sum(draws) / len(draws)
    of_draws = sum((d - mean) ** 2 for d in draws) / max(1, len(draws) - 1) / len(draws)
    margin = Z_95 * math.sqrt(of_draws + variance_of_rows(mean, rows))
    return Accuracy(mean, math.sqrt(of_draws), draws, margin)


def versions() -> dict[str, str]:
    """Of Python and the libraries that fix the bits."""
    from importlib.metadata import version

    names = ("noprop-dist", "torch", "torchvision", "numpy")
    return {"python": platform.python_version()} | {n: version(n) for n in names}

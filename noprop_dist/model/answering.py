"""Which readout of a network answers, and what makes probabilities of what readouts say.

B batch, N rows, K classes, T blocks.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noprop_dist.errors import UserError
from noprop_dist.maths.calibration import Labels, fit_temperature, fit_weights, nats_of
from noprop_dist.model.network import Trace

Z_T, MEAN = "z_T", "mean_softmax"
WEIGHTED, BEST, LAST = "weighted", "best_block", "last_block"
# By name, what it is called: the paper's; the mean of what the blocks say; block T alone; the mean
# of their log-softmaxes with fitted weights; and the block that is best on the validation split.
READOUTS = {
    Z_T: "z_T",
    MEAN: "mean softmax",
    LAST: "last block",
    WEIGHTED: "weighted blocks",
    BEST: "best block",
}


@dataclass(frozen=True)
class Answering:
    """What a network answers by; without validation rows by z_T as it is.

    Attributes:
        readout: that answers where none is asked for, a key of READOUTS.
        temperatures: by readout, what its logits are divided by.
        weights: (T,), of the blocks in "weighted"; empty where nothing was fitted.
        best_block: t of "best_block"; 0 where nothing was fitted.
        rows: validation rows that all of this was fitted on.
        scores: by readout, on these rows: "accuracy", and "negative_log_likelihood" in nats a row.
    """

    readout: str = Z_T
    temperatures: dict[str, float] = field(default_factory=dict)
    weights: tuple[float, ...] = ()
    best_block: int = 0
    rows: int = 0
    scores: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def readouts(self) -> tuple[str, ...]:
        """Those that there are, z_T first."""
        return tuple(name for name in READOUTS if self.rows or name not in (WEIGHTED, BEST))

    def named(self, asked: str) -> str:
        """The readout that is meant; "auto" means the one that answers.

        Raises:
            UserError: there is no such readout.
        """
        if asked == "auto":
            return self.readout
        if asked not in self.readouts:
            raise UserError(
                f"--readout {asked} is not there: this network knows {', '.join(self.readouts)}"
                + ("." if self.rows else "; others are fitted on validation rows, and it had none.")
            )
        return asked

    def words(self, readout: str = "auto") -> str:
        """What an answer is by, for people."""
        readout = self.named(readout)
        told = f"answers by {READOUTS[readout]}"
        if not self.rows:
            return f"{told}, whose probabilities are not calibrated: there were no validation rows"
        reached = f"{self.scores[readout]['accuracy']:.2%} on {self.rows:,} validation rows"
        best = ", the best there" if readout == self.readout else ""
        return (
            f"{told}, {reached}{best}; probabilities at the temperature fitted there, "
            f"{self.temperatures[readout]:.3g}"
        )

    def logits(self, trace: Trace, readout: str) -> Tensor:
        """What a readout says, at its temperature: float32 (B, K)."""
        return self._raw(trace, readout) / self.temperatures.get(readout, 1.0)

    def probabilities(self, trace: Trace, readout: str) -> Tensor:
        """The softmax of ``logits``, float32 (B, K)."""
        if readout == MEAN and MEAN not in self.temperatures:
            return trace.mean_softmax
        return self.logits(trace, readout).softmax(dim=1)

    def _raw(self, trace: Trace, readout: str) -> Tensor:
        if readout == Z_T:
            return trace.z_T_logits
        if readout == LAST:
            return trace.block_logits[-1]
        if readout == BEST:
            return trace.block_logits[self.best_block - 1]
        # Logarithms of both: a probability may round to 0, its logarithm is finite.
        log_p = trace.block_logits.log_softmax(dim=2)
        if readout == MEAN:
            return log_p.logsumexp(dim=0) - math.log(len(log_p))
        weights = torch.tensor(self.weights, dtype=log_p.dtype, device=log_p.device)
        return torch.einsum("t,tbk->bk", weights, log_p)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return asdict(self) | {"weights": list(self.weights)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Answering":
        """The inverse of ``to_dict``."""
        return cls(**{**values, "weights": tuple(values["weights"])})


UNFITTED = Answering()


def fit_answering(trace: Trace, y: Labels, draws: int = 1) -> Answering:
    """Choose by validation rows: the most right answers, then the greatest likelihood.

    Scores are of rows that the weights and the best block were not fitted on: of either half by the
    other one's.

    Args:
        trace: what the network says of N rows in each draw, one draw after the other, on the CPU.
        y: int64 (draws N,), their labels; N at least 1.
        draws: of noise.
    """
    rows = len(y) // draws
    half = np.tile(np.arange(rows) % 2 == 0, draws)
    found = _fitted(trace, y, rows)
    temperatures, scores = {}, {}
    halves = [(half, ~half), (~half, half)] if rows > 1 else [(half, half)]
    others = [_fitted(_at(trace, fit), y[fit], rows) for fit, _ in halves]
    for name in found.readouts:
        temperatures[name] = fit_temperature(found.logits(trace, name).double().numpy(), y)
        held = [
            other.logits(_at(trace, told), name).double().numpy() / temperatures[name]
            for other, (_, told) in zip(others, halves, strict=True)
        ]
        logits, labels = np.concatenate(held), np.concatenate([y[told] for _, told in halves])
        scores[name] = {
            "accuracy": float((logits.argmax(axis=1) == labels).mean()),
            "negative_log_likelihood": nats_of(logits, labels),
        }
    chosen = max(
        scores, key=lambda n: (scores[n]["accuracy"], -scores[n]["negative_log_likelihood"])
    )
    return replace(found, readout=chosen, temperatures=temperatures, scores=scores)


def _fitted(trace: Trace, y: Labels, rows: int) -> Answering:
    blocks = trace.block_logits.double().log_softmax(dim=2).numpy()
    right = (blocks.argmax(axis=2) == y).sum(axis=1)
    best = max(range(len(blocks)), key=lambda i: (right[i], -nats_of(blocks[i], y)))
    return Answering(weights=tuple(fit_weights(blocks, y).tolist()), best_block=best + 1, rows=rows)


def _at(trace: Trace, places: npt.NDArray[np.bool_]) -> Trace:
    return Trace(trace.z, trace.block_logits[:, places], trace.readout_logits[:, places])

"""Which readout of a network answers, and what makes probabilities of what readouts say.

B batch, K classes, T blocks.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from noprop_dist.errors import UserError
from noprop_dist.maths.chance import margin

if TYPE_CHECKING:  # whoever lists runs does without PyTorch
    from torch import Tensor

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
                + ("." if self.rows else "; others are fitted on validation rows, when a run ends.")
            )
        return asked

    def words(self, readout: str = "auto") -> str:
        """What an answer is by, for people."""
        readout = self.named(readout)
        told = f"answers by {READOUTS[readout]}"
        if not self.rows:
            return (
                f"{told}, whose probabilities are not calibrated: that is done on validation rows, "
                "when a run ends"
            )
        accuracy = self.scores[readout]["accuracy"]
        doubt = 100 * margin([accuracy], self.rows)
        reached = f"{100 * accuracy:.2f} +- {doubt:.2f} % on {self.rows:,} validation rows"
        best = ", chosen there" if readout == self.readout else ""
        return (
            f"{told}, {reached}{best}; probabilities at the temperature fitted there, "
            f"{self.temperatures[readout]:.3g}"
        )

    def logits(self, trace: "Trace", readout: str) -> "Tensor":
        """What a readout says, at its temperature: float32 (B, K)."""
        return self._raw(trace, readout) / self.temperatures.get(readout, 1.0)

    def probabilities(self, trace: "Trace", readout: str) -> "Tensor":
        """The softmax of ``logits``, float32 (B, K)."""
        if readout == MEAN and MEAN not in self.temperatures:
            return trace.mean_softmax
        return self.logits(trace, readout).softmax(dim=1)

    def _raw(self, trace: "Trace", readout: str) -> "Tensor":
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
        return (log_p.new_tensor(self.weights)[:, None, None] * log_p).sum(dim=0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return asdict(self) | {"weights": list(self.weights)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Answering":
        """The inverse of ``to_dict``."""
        return cls(**{**values, "weights": tuple(values["weights"])})


UNFITTED = Answering()

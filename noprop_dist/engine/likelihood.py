"""What the probabilities of labels come to.

R readouts, S noise draws, B rows of a batch, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from noprop_dist.model.answering import UNFITTED, Answering
from noprop_dist.model.network import Trace

TOP = 5

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Likelihood:
    """Sums over rows; those of two sets of rows add up.

    Attributes:
        nats: float64 (R, S), of minus the logarithm of the label's probability.
        in_top: int64 (R, S), rows whose label is among the TOP likeliest classes.
        odds: where K = 2, by batch, the labels, int64 (B,), and the second class's logarithm of
            odds, float64 (R, S, B).
    """

    nats: Floats
    in_top: Counts
    odds: tuple[tuple[Counts, Floats], ...] = ()

    def __add__(self, other: "Likelihood") -> "Likelihood":
        return Likelihood(
            self.nats + other.nats, self.in_top + other.in_top, self.odds + other.odds
        )

    def measures(self, rows: int, num_classes: int) -> list[dict[str, float]]:
        """By readout, means over noise draws.

        Args:
            rows: that were summed over.
            num_classes: K.

        Returns:
            ``negative_log_likelihood`` in nats a row; ``top5_accuracy`` where K > 5; ``auroc``, the
            area under the ROC curve, where K = 2 and both classes have rows.
        """
        found = [{"negative_log_likelihood": float(n.mean()) / rows} for n in self.nats]
        for r, measures in enumerate(found):
            if num_classes > TOP:
                measures["top5_accuracy"] = float(self.in_top[r].mean()) / rows
            y = np.concatenate([labels for labels, _ in self.odds]) if self.odds else np.array([])
            if len(np.unique(y)) == 2:
                from sklearn.metrics import roc_auc_score

                odds = np.concatenate([odds[r] for _, odds in self.odds], axis=1)
                measures["auroc"] = float(np.mean([roc_auc_score(y, draw) for draw in odds]))
        return found


def likelihood(y: Counts, traces: Sequence[Trace], answering: Answering = UNFITTED) -> Likelihood:
    """Of one batch.

    Args:
        y: int64 (B,), the labels.
        traces: what the network says, by draw.
        answering: has the readouts.
    """
    # From logits, as a probability may round to 0 and its logarithm is finite.
    logits = [[answering.logits(t, name) for t in traces] for name in answering.readouts]
    log_p = torch.stack([torch.stack(draws) for draws in logits]).log_softmax(dim=-1)
    labels = torch.from_numpy(y).to(log_p.device).expand(log_p.shape[:-1])[..., None]
    nats = -log_p.gather(-1, labels).double().sum(dim=(-2, -1))
    likeliest = log_p.topk(min(TOP, log_p.shape[-1])).indices
    in_top = (likeliest == labels).any(dim=-1).sum(dim=-1)
    odds: tuple[tuple[Counts, Floats], ...] = ()
    if log_p.shape[-1] == 2:
        odds = ((y, (log_p[..., 1] - log_p[..., 0]).double().cpu().numpy()),)
    return Likelihood(nats.cpu().numpy(), in_top.cpu().numpy(), odds)

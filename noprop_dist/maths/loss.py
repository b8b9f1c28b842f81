"""The three terms of the NoProp loss (eq. 8), means over the samples or over weighted ones.

B batch, K classes, D embedding width.
"""

import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int64
from torch import Tensor

Weight = Float[Tensor, " B"] | None  # of each sample's loss; None counts all alike


def denoising_weight(*, num_blocks: int, eta: float, snr_gain: float) -> float:
    """T/2 * eta * (snr[t] - snr[t-1]), the factor of block t's denoising term.

    Deviation: the T stands in eq. 8 because t is sampled; here every t is trained and the factor is
    kept so that a block's loss is on the paper's scale.
    """
    return 0.5 * num_blocks * eta * snr_gain


def denoising_loss(
    u_hat: Float[Tensor, "B D"], u: Float[Tensor, "B D"], weight: Weight = None
) -> Float[Tensor, ""]:
    """||u_hat - u||^2, summed over D, mean over B; without the factor."""
    return _mean((u_hat - u).square().sum(dim=1), weight)


def prior_kl(
    u: Float[Tensor, "B D"], alpha_bar_0: float, weight: Weight = None
) -> Float[Tensor, ""]:
    """KL(q(z_0 | y) || N(0, I)) in nats, mean over B.

    1/2 (alpha_bar_0 ||u||^2 + D ((1 - alpha_bar_0) - 1 - log(1 - alpha_bar_0))).
    """
    variance = u.new_full((), 1 - alpha_bar_0)
    dims = u.shape[1]
    return 0.5 * (
        alpha_bar_0 * _mean(u.square().sum(dim=1), weight) + dims * (variance - 1 - variance.log())
    )


def readout_loss(
    logits: Float[Tensor, "B K"],
    y: Int64[Tensor, " B"] | Float[Tensor, "B K"],
    weight: Weight = None,
) -> Float[Tensor, ""]:
    """CE(readout(z_T), y) in nats, mean over B; z_T drawn from q(z_T | y), not from the network.

    A block's own logits are scored alike, where cross-entropy is its loss.

    Args:
        logits: of the readout.
        y: labels, or how much each sample is of every class.
        weight: of the samples.
    """
    if weight is None:
        return F.cross_entropy(logits, y)
    return _mean(F.cross_entropy(logits, y, reduction="none"), weight)


def _mean(losses: Float[Tensor, " B"], weight: Weight) -> Float[Tensor, ""]:
    return losses.mean() if weight is None else (losses * weight).mean()

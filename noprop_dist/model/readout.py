"""Readouts: class probabilities from z_T (eq. 14-16). B batch, K classes, D embedding width."""

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from noprop_dist.maths.process import expected_embedding

READOUTS = ("softmax", "radial")


def readout_logits(
    z: Tensor,
    weight: Tensor,
    bias: Tensor,
    class_embed: Tensor,
    *,
    kind: str,
) -> Tensor:
    """Logits (B, K) of the class given z_T.

    Args:
        z: z_T (B, D) float.
        weight: (K, D) of the linear layer.
        bias: (K,).
        class_embed: W (K, D); read by the radial readout alone.
        kind: "softmax", the linear layer itself (eq. 14), or "radial": the layer's softmax gives an
            expected embedding, and a class is as likely as a normal of width 1 around its own
            embedding makes that point (eq. 15-16, equal priors).

    Raises:
        ValueError: unknown kind.
    """
    logits = F.linear(z, weight, bias)
    if kind == "softmax":
        return logits
    if kind == "radial":
        point = expected_embedding(logits, class_embed)
        # -||point - W_k||^2 / 2 without ||point||^2, which is the same for every class k: no
        # (B, K, D) tensor, which would be large for prototypes.
        return point @ class_embed.T - 0.5 * class_embed.square().sum(dim=1)
    raise ValueError(f"unknown readout {kind!r}; known are {', '.join(READOUTS)}")


def init_readout(class_embed: Tensor) -> tuple[Tensor, Tensor]:
    """Starting weight (K, D) and bias (K,): the nearest class embedding wins.

    Deviation: the paper does not say how its readout starts. Under q(z_T | y) the best classifier
    is linear in z_T with weights along W, so training starts there and has only the scale to find;
    from a random start a small data set gives it too few steps.

    Args:
        class_embed: W (K, D).
    """
    return class_embed.clone(), -0.5 * class_embed.square().sum(dim=1)

"""The two processes: noising a label (training) and denoising it step by step (inference).

B batch, D embedding width (D may stand for several axes when z is shaped like an image).
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def embed_label(
    y: Int64[Tensor, " B"] | Float[Tensor, "B K"], class_embed: Float[Tensor, "K D"]
) -> Float[Tensor, "B D"]:
    """The clean label u: a row of W, or of a sample of several classes the mixture of their rows.

    Args:
        y: labels, or p (B, K), how much each sample is of every class: u = sum_k p_k W_k.
        class_embed: W.
    """
    return y @ class_embed if y.is_floating_point() else class_embed[y]


def noise_label(
    u: Float[Tensor, "B *D"], alpha_bar: float, noise: Float[Tensor, "B *D"]
) -> Float[Tensor, "B *D"]:
    """z ~ q(z | y) = N(sqrt(alpha_bar) u, (1 - alpha_bar) I) (eq. 5).

    Algorithm 1 samples z_t, but eq. 8 and the algorithm's own loss use z_{t-1}: block t trains on
    ``alpha_bar[t - 1]``.

    Args:
        u: clean class embeddings of the batch.
        alpha_bar: share of signal, in (0, 1).
        noise: standard normal, same shape as u.
    """
    return u * math.sqrt(alpha_bar) + noise * math.sqrt(1 - alpha_bar)


def denoise_step(
    z_prev: Float[Tensor, "B *D"],
    u_hat: Float[Tensor, "B *D"],
    noise: Float[Tensor, "B *D"],
    *,
    a: float,
    b: float,
    c: float,
) -> Float[Tensor, "B *D"]:
    """z_t = a_t u_hat_t + b_t z_{t-1} + sqrt(c_t) noise (eq. 3); c is a variance."""
    return a * u_hat + b * z_prev + math.sqrt(c) * noise


def flow_step(
    z: Float[Tensor, "B *D"],
    u_hat: Float[Tensor, "B *D"],
    here: tuple[float, float],
    there: tuple[float, float],
) -> Float[Tensor, "B *D"]:
    """One Euler step to less noise along the probability-flow ODE of z = m u + s noise.

    In w = z / s and rho = m / s the ODE is dw / drho = u_hat(z), whatever m and s are (Song et al.,
    2021: DDIM): exact where u_hat is constant, and with the mean of the u_hat at both ends the step
    is Heun's. Between the times of a straight path, m = time and s = 1 - time, it is the Euler step
    of flow matching.

    Args:
        z: at the level ``here``.
        u_hat: the embedding that is expected there.
        here: (m, s) of z, s above 0.
        there: (m, s) of what is returned; s may be 0.
    """
    ratio = there[1] / here[1]
    return ratio * z + (there[0] - here[0] * ratio) * u_hat


def expected_embedding(
    logits: Float[Tensor, "B K"], class_embed: Float[Tensor, "K D"]
) -> Float[Tensor, "B D"]:
    """u_hat = softmax(logits) W: the embedding a block expects, a mean over the classes."""
    return torch.softmax(logits, dim=1) @ class_embed

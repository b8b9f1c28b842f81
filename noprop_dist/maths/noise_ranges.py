"""Noise levels as a log-normal spreads them, and the network's scalings (Karras et al., 2022: EDM).

The range of sigma is cut into T intervals of equal probability, as DiffusionBlocks does
(arXiv:2506.14202). Time runs from sigma_max (0) to sigma_min (1), so that the intervals of sigma
are equal intervals of time.
"""

import math
from statistics import NormalDist

import torch
from torch import Tensor

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
# EDM's P_mean is -1.2, for pictures. Class embeddings of unit length are further apart than that:
# most levels would give the label away, and most blocks learn nothing of the sample.
LOG_SIGMA = NormalDist(0.0, 1.2)
_FIRST, _LAST = (LOG_SIGMA.cdf(math.log(sigma)) for sigma in (SIGMA_MAX, SIGMA_MIN))


def log_sigma(time: Tensor) -> Tensor:
    """ln sigma at a time: at uniform times, log-normal between sigma_min and sigma_max.

    Args:
        time: float of any shape, in [0, 1].
    """
    share = _FIRST + (_LAST - _FIRST) * time
    standard: Tensor = torch.special.ndtri(share)
    return LOG_SIGMA.mean + LOG_SIGMA.stdev * standard


def time_of(log_sigma: float) -> float:
    """The inverse of ``log_sigma``, clipped to [0, 1]."""
    return min(max((LOG_SIGMA.cdf(log_sigma) - _FIRST) / (_LAST - _FIRST), 0.0), 1.0)


def c_in(sigma: Tensor, sigma_data: float) -> Tensor:
    """1 / sqrt(sigma^2 + sigma_data^2): what the network sees is of unit variance at any level."""
    return (sigma.square() + sigma_data**2).rsqrt()


def c_noise(log_sigma: Tensor) -> Tensor:
    """ln(sigma) / 4: how the network is told the level."""
    return log_sigma / 4


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """(sigma^2 + sigma_data^2) / (sigma sigma_data)^2, EDM's weight of ||u_hat - u||^2."""
    return (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()

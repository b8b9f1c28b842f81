"""Ranges of sigma, a block each: DiffusionBlocks (arXiv:2506.14202) with EDM's scalings."""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from noprop_dist.maths.noise_ranges import c_in, c_noise, edm_weight, log_sigma, time_of
from noprop_dist.model.intervals import Intervals
from noprop_dist.model.spec import ModelSpec


class NoiseRanges(Intervals):
    """u + sigma noise, sigma log-normal, with class embeddings of unit length.

    These have sigma_data = 1 / sqrt(D) a number. z is sigma_data c_in times the sum, of the same
    spread at any level: z_T is u, up to sigma_min.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.sigma_data = 1 / math.sqrt(spec.embed_dim)
        super().__init__(spec)

    @override
    def marginal(self, time: Tensor) -> tuple[Tensor, Tensor]:
        sigma = log_sigma(time).exp()
        scale = self.sigma_data * c_in(sigma, self.sigma_data)
        return scale, scale * sigma

    @override
    def told(self, time: Tensor) -> Tensor:
        return c_noise(log_sigma(time))

    @override
    def seen(self, z: Tensor) -> Tensor:
        scaled: Tensor = z / self.sigma_data  # c_in times the sum
        return scaled

    @override
    def error_weight(self, time: Tensor) -> Tensor:
        return edm_weight(log_sigma(time).exp(), self.sigma_data)

    @override
    def embedding(self, class_embed: Tensor) -> Tensor:
        unit: Tensor = normalize(class_embed, dim=1)
        return unit

    @override
    def reach(self, t: int) -> tuple[float, float]:
        """An overlap is a share of the interval's width in ln sigma."""
        first, last = log_sigma(torch.tensor([t - 1, t]).double() / self.spec.num_blocks).tolist()
        more = self.spec.overlap * (first - last)
        return time_of(first + more), time_of(last - more)

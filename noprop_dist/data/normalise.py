"""Normalisation on the batch, from the training split's own statistics."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from noprop_dist.data.shards import Split

MOST_VALUES = 2**22  # that are looked at in one go, in float64
MIN_STD = 1e-3  # a constant channel, on the 0..1 scale, is shifted, not blown up


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation per channel (images, 0..1 scale) or per feature (vectors)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def on(self, device: torch.device) -> "Normaliser":
        """What normalises there, without another look at the host."""
        mean, std = (torch.tensor(part, device=device) for part in (self.mean, self.std))
        return Normaliser(mean, std)


@dataclass(frozen=True)
class Normaliser:
    """A normalisation whose numbers lie on a device: float32 (C,) or (F,)."""

    mean: Tensor
    std: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Float32 samples of mean 0 and deviation 1 over the training split.

        Args:
            x: uint8 (B, C, H, W) or float32 (B, F), on the numbers' device.

        Returns:
            Same shape; images in channels-last memory.
        """
        if x.dim() == 2:
            return (x - self.mean) / self.std
        mean, std = (part.view(-1, 1, 1) for part in (self.mean, self.std))
        out = x.to(torch.float32, memory_format=torch.channels_last)
        return out.sub_(255 * mean).div_(255 * std)


def fit_normalisation(train: Split) -> Normalisation:
    """Statistics of a non-empty split, summed in float64 shard by shard."""
    total = square = np.zeros(train.sample_shape[0])
    axes = (0,) if train.is_vector else (0, 2, 3)
    count = 0
    rows = max(1, min(1024, MOST_VALUES // math.prod(train.sample_shape)))
    for x, _ in train.batches(rows):
        values = x.astype(np.float64) / (1 if train.is_vector else 255)
        total = total + values.sum(axis=axes)
        square = square + np.square(values).sum(axis=axes)
        count += values.size // values.shape[1]
    mean = total / count
    std = np.sqrt(np.maximum(square / count - mean**2, 0))
    if train.is_vector:
        # Features have scales of their own: constant is what varies by rounding alone.
        std = np.where(std > 1e-6 * np.abs(mean), std, 1.0)
        std[std == 0] = 1.0
    else:
        std = np.maximum(std, MIN_STD)
    return Normalisation(tuple(mean.tolist()), tuple(std.tolist()))


def normalise(x: Tensor, norm: Normalisation) -> Tensor:
    """Samples normalised once; see ``Normaliser``."""
    return norm.on(x.device)(x)

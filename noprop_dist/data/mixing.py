"""What a sample of the batch is taken for: mixed with another, a smoothed label, a weight.

B samples, K classes, C H W image axes, F features of a vector.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from noprop_dist.data.augment import rectangle
from noprop_dist.data.shards import Rows

SHARES = 4096  # of a Beta distribution: its quantiles, of which each is as likely


class Samples(NamedTuple):
    """What a step learns from.

    Attributes:
        x: normalised samples, float32 (B, C, H, W) or (B, F).
        y: int64 (B,) labels, or float32 (B, K) how much each is of every class, of sum 1.
        weight: float32 (B,) of their losses, or None: all count alike.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None = None

    @property
    def likeliest(self) -> Tensor:
        """int64 (B,) the class of which most is in the sample."""
        return self.y if self.y.dim() == 1 else self.y.argmax(dim=1)


@dataclass(frozen=True)
class Mixing:
    """How samples of a batch are mixed, and what they count.

    Attributes:
        num_classes: K.
        mixup: a of Beta(a, a), from which the shares of mixup are drawn (Zhang et al., 2018); 0 for
            none.
        cutmix: the same for the area of CutMix's rectangle (Yun et al., 2019). With both a sample
            has either with equal chance.
        smoothing: share of a label that is spread over all classes evenly.
        class_weights: K weights of the losses of a class, or None.
    """

    num_classes: int
    mixup: float = 0.0
    cutmix: float = 0.0
    smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def on(self, device: torch.device) -> "Mixer":
        """What mixes there, without another look at the host."""
        return Mixer(self, device)


class Mixer:
    """A ``Mixing`` whose numbers lie on a device."""

    def __init__(self, mixing: Mixing, device: torch.device) -> None:
        self._mixing = mixing
        self._mixup, self._cutmix = (_shares(a, device) for a in (mixing.mixup, mixing.cutmix))
        weights = mixing.class_weights
        self._weights = (
            None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device)
        )

    def __call__(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Samples:
        """Mix every sample with the one before it: a batch comes in a random order.

        Args:
            x: normalised samples, float32 (B, C, H, W) or (B, F).
            y: int64 (B,).
            generator: on their device.
        """
        how, weights = self._mixing, self._weights
        weight = None if weights is None else weights[y]
        if not (how.mixup or how.cutmix or how.smoothing):
            return Samples(x, y, weight)
        classes = torch.arange(how.num_classes, device=y.device)
        p = (y[:, None] == classes).float()
        if how.mixup or how.cutmix:
            own = self._own(x, generator)
            x = x.roll(1, 0).lerp(x, own)
            share = own.flatten(1).mean(dim=1)
            p = p.roll(1, 0).lerp(p, share[:, None])
            if weight is not None:
                weight = weight.roll(1, 0).lerp(weight, share)
        return Samples(x, (1 - how.smoothing) * p + how.smoothing / how.num_classes, weight)

    def _own(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """How much of every pixel remains the sample's own, float32 (B, 1, ...)."""
        mixed = cut = None
        batch, device = len(x), x.device
        if self._mixup is not None:
            place = torch.randint(0, SHARES, (batch,), generator=generator, device=device)
            mixed = self._mixup[place].view(-1, *[1] * (x.dim() - 1))
        if self._cutmix is not None:
            place = torch.randint(0, SHARES, (batch,), generator=generator, device=device)
            side = (1 - self._cutmix[place]).sqrt()
            down, right = torch.rand(2, batch, generator=generator, device=device)
            cut = (~rectangle((x.shape[2], x.shape[3]), (down, right), (side, side))).float()
        if mixed is None or cut is None:
            found = cut if mixed is None else mixed
            assert found is not None
            return found
        is_cut = torch.rand(batch, generator=generator, device=device) < 0.5
        return torch.where(is_cut[:, None, None, None], cut, mixed)


def _shares(a: float, device: torch.device) -> Tensor | None:
    if not a:
        return None
    from scipy.special import betaincinv  # takes its time, for these two alone

    middles = (np.arange(SHARES) + 0.5) / SHARES
    return torch.from_numpy(betaincinv(a, a, middles).astype(np.float32)).to(device)


def balanced_weights(labels: Rows, num_classes: int) -> tuple[float, ...]:
    """K weights with which every class counts as much as any other, of mean 1 over the rows.

    A class without a row has the weight 0.
    """
    counts = np.bincount(labels, minlength=num_classes)
    there = int(np.count_nonzero(counts))
    return tuple(len(labels) / (there * n) if n else 0.0 for n in counts.tolist())

"""Augmentation on the batch, on the device, drawn from the caller's generator.

Every picture has numbers of its own, and every batch the same operations: no value is looked at.
B pictures, C channels, H and W pixels.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from noprop_dist.data.rand_augment import rand_augment

PADDING = 4  # of images of 28 pixels and more; of smaller ones an eighth of their side
ERASED_SHARE = (0.02, 1 / 3)  # of a picture's area (Zhong et al., 2017)
ERASED_ASPECT = 3.3  # of height to width, or of width to height, at most


@dataclass(frozen=True)
class Augmentation:
    """What is done to training pictures, one after the other.

    Attributes:
        crop: a crop of the picture's own size after padding.
        flip: mirrors half of them.
        randaugment: operations of RandAugment.
        magnitude: of these, 0..30.
        erasing: share of the pictures of which a rectangle becomes noise.
    """

    crop: bool = False
    flip: bool = False
    randaugment: int = 0
    magnitude: int = 0
    erasing: float = 0.0


def augment(x: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """A randomly changed copy of a batch of images, or the batch where nothing is to be done.

    Args:
        x: uint8 (B, C, H, W); any samples where nothing is to be done.
        how: what to do.
        generator: on x's device.
    """
    if how.crop or how.flip:
        x = _crop(x, how.crop, how.flip, generator)
    if how.randaugment:
        x = rand_augment(x, how.randaugment, how.magnitude, generator)
    if how.erasing:
        x = _erase(x, how.erasing, generator)
    return x


def _crop(x: Tensor, shift: bool, flip: bool, generator: torch.Generator) -> Tensor:
    batch, channels, height, width = x.shape
    padding = min(PADDING, max(1, round(min(height, width) / 8))) if shift else 0
    shifts = torch.randint(0, 2 * padding + 1, (2, batch, 1), generator=generator, device=x.device)
    rows = shifts[0] + torch.arange(height, device=x.device)
    columns = shifts[1] + torch.arange(width, device=x.device)
    if flip:
        mirror = torch.rand(batch, 1, generator=generator, device=x.device) < 0.5
        columns = torch.where(mirror, columns.flip(1), columns)
    padded = F.pad(x, (padding,) * 4)
    image = torch.arange(batch, device=x.device)[:, None, None, None]
    channel = torch.arange(channels, device=x.device)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _erase(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Random erasing: a rectangle of some pictures becomes noise of all values."""
    batch, _, height, width = x.shape
    chance, area, aspect, down, right = torch.rand(5, batch, generator=generator, device=x.device)
    least, most = ERASED_SHARE
    side = torch.sqrt(least + (most - least) * area)
    stretch = torch.exp((aspect - 0.5) * math.log(ERASED_ASPECT))
    tall, wide = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
    inside = rectangle(
        (height, width), (tall / 2 + down * (1 - tall), wide / 2 + right * (1 - wide)), (tall, wide)
    )
    erased = inside & (chance < share)[:, None, None, None]
    noise = torch.randint(0, 256, x.shape, generator=generator, device=x.device, dtype=torch.uint8)
    return torch.where(erased, noise, x)


def rectangle(
    size: tuple[int, int], middle: tuple[Tensor, Tensor], extent: tuple[Tensor, Tensor]
) -> Tensor:
    """Which pixels lie in a rectangle, by picture: bool (B, 1, H, W).

    Args:
        size: H and W.
        middle: its row and its column (B,), as shares of the height and of the width.
        extent: its height and its width (B,), as such shares; what lies outside is cut off.
    """
    rows, columns = (
        ((torch.arange(n, device=at.device) + 0.5) / n - at[:, None]).abs() < part[:, None] / 2
        for n, at, part in zip(size, middle, extent, strict=True)
    )
    return (rows[:, :, None] & columns[:, None, :])[:, None]

"""Augmentation on the batch, on the device, drawn from the caller's generator."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

PADDING = 4  # of images of 28 pixels and more; of smaller ones an eighth of their side


def augment(x: Tensor, kind: str, flip: bool, generator: torch.Generator) -> Tensor:
    """A randomly changed copy of a batch of images.

    Args:
        x: uint8 (B, C, H, W).
        kind: "none", or "standard": a crop per image after padding, then a mirror.
        flip: whether "standard" mirrors half of the images.
        generator: on x's device.

    Raises:
        ValueError: unknown kind.
    """
    if kind == "none":
        return x
    if kind != "standard":
        raise ValueError(f"unknown augmentation {kind!r}; known are none and standard")
    batch, channels, height, width = x.shape
    padding = min(PADDING, max(1, round(min(height, width) / 8)))
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

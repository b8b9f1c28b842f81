"""RandAugment (Cubuk et al., 2019) of a whole batch, an operation of its own for every picture.

The operations and their strengths are torchvision's, which does them picture by picture. Here all
pictures go through the same tensor operations, with numbers of their own in them. What moves pixels
is one affine map for each picture. What changes values channel by channel is a table of 256 values,
made from the channel's histogram. Colour and sharpness are blends.

Deviation: a picture's moves come before its changes of values, whatever the order they were drawn
in, so that it is sampled once; shearing is about its centre.

N operations of a picture, B pictures, C channels, H and W pixels.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

OPERATIONS = (
    "identity", "shear-x", "shear-y", "translate-x", "translate-y", "rotate", "brightness", "color",
    "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
MOST_MAGNITUDE = 30
# At the most magnitude.
MOST_SHEAR = 0.3
MOST_SHIFT = 150 / 331  # of the side
MOST_ANGLE = 30.0  # degrees
MOST_FACTOR = 0.9  # what brightness, colour, contrast and sharpness gain or lose
MOST_BITS_LOST = 4


def rand_augment(x: Tensor, num_ops: int, magnitude: int, generator: torch.Generator) -> Tensor:
    """A changed copy of a batch.

    Args:
        x: uint8 (B, C, H, W).
        num_ops: N.
        magnitude: of every operation, 0..30; 0 changes nothing but by autocontrast and equalize.
        generator: on x's device.
    """
    kinds = len(OPERATIONS)
    drawn = torch.randint(0, 2 * kinds, (num_ops, len(x)), generator=generator, device=x.device)
    return apply_operations(x, drawn % kinds, 1 - 2 * (drawn // kinds), magnitude)


def apply_operations(x: Tensor, ops: Tensor, signs: Tensor, magnitude: int) -> Tensor:
    """The batch after given operations.

    Args:
        x: uint8 (B, C, H, W).
        ops: int64 (N, B), places in ``OPERATIONS``.
        signs: int64 (N, B), 1 or -1: to which side an operation goes, where it has two.
        magnitude: 0..30.
    """
    strength = magnitude / MOST_MAGNITUDE
    x = _move(x, ops, signs, strength)
    for op, sign in zip(ops.unbind(), signs.unbind(), strict=True):
        x = _by_tables(x, op, sign, strength)
        x = _blend(x, op, sign, strength)
    return x


def _is(op: Tensor, name: str) -> Tensor:
    return op == OPERATIONS.index(name)


def _move(x: Tensor, ops: Tensor, signs: Tensor, strength: float) -> Tensor:
    """Sheared, shifted and rotated, sampled bilinearly, black where nothing was."""
    height, width = x.shape[2:]
    angle = math.radians(MOST_ANGLE * strength)

    def signed(name: str, amount: float) -> Tensor:
        return torch.where(_is(ops, name), signs * amount, 0.0)

    # From a place in the new picture to that in the old one, in pixels from the centre. A picture
    # has one operation at a time, so that what moves it can be added up to one matrix.
    turn = signed("rotate", math.sin(angle))
    stay = torch.where(_is(ops, "rotate"), math.cos(angle), 1.0)
    zero, one = torch.zeros_like(stay), torch.ones_like(stay)
    rows = (
        (stay, signed("shear-x", MOST_SHEAR * strength) - turn,
         signed("translate-x", -int(MOST_SHIFT * strength * width))),
        (signed("shear-y", MOST_SHEAR * strength) + turn, stay,
         signed("translate-y", -int(MOST_SHIFT * strength * height))),
        (zero, zero, one),
    )  # fmt: skip
    steps = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)  # (N, B, 3, 3)
    whole = steps[0]
    for step in steps[1:]:
        # By sums, as below: matrix products may be of less precision on a GPU.
        whole = (whole[:, :, :, None] * step[:, None, :, :]).sum(dim=2)
    across = torch.arange(width, device=x.device) - (width - 1) / 2
    down = torch.arange(height, device=x.device)[:, None] - (height - 1) / 2
    m = whole[:, :, :, None, None]
    old = m[:, :2, 0] * across + m[:, :2, 1] * down + m[:, :2, 2]  # (B, 2, H, W)
    grid = torch.stack([old[:, 0] * (2 / width), old[:, 1] * (2 / height)], dim=3)
    return F.grid_sample(x.float(), grid, align_corners=False).round().to(torch.uint8)


def _by_tables(x: Tensor, op: Tensor, sign: Tensor, strength: float) -> Tensor:
    """Operations that say of a channel's every value what becomes of it."""
    places = x.flatten(2).to(torch.int64)
    counts = torch.zeros(*x.shape[:2], 256, dtype=torch.int64, device=x.device)
    counts.scatter_add_(2, places, torch.ones_like(places))
    value = torch.arange(256, device=x.device)
    factor = 1 + sign.view(-1, 1, 1) * (MOST_FACTOR * strength)
    mean = _grey((counts * value).sum(dim=2, keepdim=True).float() / places.shape[2])
    lo, hi = (end[:, :, None].float() for end in (places.amin(dim=2), places.amax(dim=2)))
    level = 2 ** round(MOST_BITS_LOST * strength)
    table = value.float().expand(counts.shape)
    for name, changed in (
        ("brightness", value * factor),
        ("contrast", value * factor + mean * (1 - factor)),
        ("posterize", value - value % level),
        ("solarize", torch.where(value >= 255 * (1 - strength), 255 - value, value)),
        ("autocontrast", torch.where(hi > lo, (value - lo) * 255 / (hi - lo), value)),
        ("equalize", _equalizing(counts)),
    ):
        table = torch.where(_is(op, name)[:, None, None], changed, table)
    table = table.clamp(0, 255).to(torch.uint8)
    return table.gather(2, places).view_as(x)


def _equalizing(counts: Tensor) -> Tensor:
    """Pillow's table for a histogram (B, C, 256); of few pixels, it changes nothing."""
    total = counts.cumsum(dim=2)
    last = counts.gather(2, total.argmax(dim=2, keepdim=True))  # pixels of the largest value
    step = (total[:, :, -1:] - last) // 255
    table = (total - counts + step // 2) // step.clamp(min=1)
    return torch.where(step > 0, table, torch.arange(256, device=counts.device))


def _blend(x: Tensor, op: Tensor, sign: Tensor, strength: float) -> Tensor:
    """Colour, away from grey or towards it, and sharpness, from a blurred picture or towards it."""
    plain = x.float()
    blurred = plain.clone()
    if min(x.shape[2:]) > 2:
        # A window of ones with a 5 in its middle: the mean of nine, and four times the middle.
        inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
        blurred[inner] = ((9 * F.avg_pool2d(plain, 3, 1) + 4 * plain[inner]) / 13).round()
    sharpens, colours = (_is(op, name)[:, None, None, None] for name in ("sharpness", "color"))
    other = torch.where(sharpens, blurred, _grey(plain))
    factor = 1 + sign.view(-1, 1, 1, 1) * (MOST_FACTOR * strength)
    changed = (plain * factor + other * (1 - factor)).clamp(0, 255).to(torch.uint8)
    return torch.where(sharpens | colours, changed, x)


def _grey(x: Tensor) -> Tensor:
    """The brightness of colours, (B, 1, ...) of (B, C, ...); their mean unless they are three."""
    if x.shape[1] != 3:
        return x.mean(dim=1, keepdim=True)
    return 0.2989 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]

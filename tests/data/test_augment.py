"""Augmentation: every picture by numbers of its own, whatever pictures are beside it."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from noprop_dist import TrainConfig
from noprop_dist.data import Augmentation, Split, augment
from noprop_dist.data.rand_augment import OPERATIONS, apply_operations
from noprop_dist.engine.job import check_fit
from noprop_dist.engine.splits import Splits, augmentation_of
from noprop_dist.errors import UserError

STRONG = Augmentation(crop=True, flip=True, randaugment=2, magnitude=9, erasing=0.25)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, channels: int = 3, height: int = 32, width: int = 24) -> Tensor:
    """Smooth, with a bright and a dark side, and few values at the ends."""
    coarse = torch.rand(n, channels, 5, 4, generator=seeded())
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (20 + 200 * smooth).to(torch.uint8)


@pytest.mark.parametrize(("side", "padding"), [(28, 4), (8, 1), (4, 1)])
def test_standard_augmentation_crops_the_padded_image(side: int, padding: int) -> None:
    x = torch.randint(0, 256, (200, 1, side, side), generator=seeded()).to(torch.uint8)
    out = augment(x, Augmentation(crop=True), seeded())
    assert out.shape == x.shape
    padded = torch.nn.functional.pad(x, (padding,) * 4)
    places = 2 * padding + 1
    seen = set()
    for image, changed in zip(padded, out, strict=True):
        found = [
            (i, j)
            for i in range(places)
            for j in range(places)
            if torch.equal(image[:, i : i + side, j : j + side], changed)
        ]
        assert found, "no crop of the image"
        seen.update(found)
    assert len(seen) > 0.7 * places**2


def test_flip_mirrors_about_half() -> None:
    x = torch.zeros(1000, 1, 6, 40, dtype=torch.uint8)
    x[..., :20] = 255
    out = augment(x, Augmentation(crop=True, flip=True), seeded())
    mirrored = (out[:, 0, 0, 10] < out[:, 0, 0, 30]) | (out[:, 0, 3, 10] < out[:, 0, 3, 30])
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.06)
    alone = augment(x, Augmentation(flip=True), seeded())
    kept = (alone == x).flatten(1).all(dim=1)
    assert torch.equal(alone[~kept], x[~kept].flip(3))
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.06)
    still = augment(x, Augmentation(crop=True), seeded())
    assert (still[:, 0, 3, 10] >= still[:, 0, 3, 30]).all()


def test_a_crop_and_a_mirror_image_are_torchvision_s() -> None:
    x = pictures(30)
    out = augment(x, Augmentation(crop=True, flip=True), seeded())
    mirrored = 0
    for picture, changed in zip(x, out, strict=True):
        padded = tv.pad(picture, [4])
        crops = [tv.crop(padded, i, j, *picture.shape[1:]) for i in range(9) for j in range(9)]
        whole = any(torch.equal(crop, changed) for crop in crops)
        flipped = any(torch.equal(tv.horizontal_flip(crop), changed) for crop in crops)
        assert whole != flipped
        mirrored += flipped
    assert 5 < mirrored < 25


def test_augmentation_repeats_with_its_key_and_is_another_for_every_picture() -> None:
    x = pictures(1).expand(20, -1, -1, -1)
    first, again, other = (augment(x, STRONG, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert first.dtype == torch.uint8
    assert all(not torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert len({picture.numpy().tobytes() for picture in first}) == 20
    assert augment(x, Augmentation(), seeded()) is x


def by_torchvision(x: Tensor, name: str, sign: int, strength: float) -> Tensor:
    side, factor = 150 / 331 * strength, 1 + sign * 0.9 * strength
    lean = math.degrees(math.atan(sign * 0.3 * strength))
    move: dict[str, Any] = {
        "shear-x": {"shear": [lean, 0.0]},
        "shear-y": {"shear": [0.0, lean]},
        "translate-x": {"translate": [sign * int(side * x.shape[3]), 0]},
        "translate-y": {"translate": [0, sign * int(side * x.shape[2])]},
        "rotate": {"angle": -sign * 30 * strength},
    }
    if name in move:
        still = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
        return tv.affine(x, interpolation=InterpolationMode.BILINEAR, **(still | move[name]))
    return {
        "identity": lambda: x,
        "brightness": lambda: tv.adjust_brightness(x, factor),
        "color": lambda: tv.adjust_saturation(x, factor),
        "contrast": lambda: tv.adjust_contrast(x, factor),
        "sharpness": lambda: tv.adjust_sharpness(x, factor),
        "posterize": lambda: tv.posterize(x, 8 - round(4 * strength)),
        "solarize": lambda: tv.solarize(x, 255 * (1 - strength)),
        "autocontrast": lambda: tv.autocontrast(x),
        "equalize": lambda: tv.equalize(x),
    }[name]()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_does_as_torchvision_s(name: str, channels: int) -> None:
    x = pictures(4, channels)
    for sign in (1, -1):
        for magnitude in (9, 25):
            ops = torch.full((1, 4), OPERATIONS.index(name))
            out = apply_operations(x, ops, torch.full((1, 4), sign), magnitude)
            theirs = by_torchvision(x, name, sign, magnitude / 30)
            assert (out.int() - theirs.int()).abs().max() <= 1
            assert name == "identity" or channels == 1 or not torch.equal(out, x)


def test_a_batch_of_operations_is_each_picture_s_own() -> None:
    x, draw = pictures(40), seeded()
    ops = torch.randint(0, len(OPERATIONS), (3, 40), generator=draw)
    signs = 1 - 2 * torch.randint(0, 2, (3, 40), generator=draw)
    whole = apply_operations(x, ops, signs, 12)
    for i in range(40):
        one = slice(i, i + 1)
        alone = apply_operations(x[one], ops[:, one], signs[:, one], 12)
        assert torch.equal(whole[one], alone)


def test_a_moved_picture_is_moved_again() -> None:
    """Shifts of both sides add up, and a rotation there and back leaves the middle as it was."""
    x = pictures(1, height=33, width=33)
    there = [OPERATIONS.index(name) for name in ("translate-x", "translate-y", "translate-x")]
    out = apply_operations(x, torch.tensor(there)[:, None], torch.ones(3, 1, dtype=torch.int64), 9)
    shift = int(150 / 331 * 0.3 * 33)
    assert torch.equal(out[:, :, shift:, 2 * shift :], x[:, :, :-shift, : -2 * shift])
    turns = torch.full((2, 1), OPERATIONS.index("rotate"))
    back = apply_operations(x, turns, torch.tensor([[1], [-1]]), 9)
    assert torch.equal(back, x)


def test_erasing_puts_noise_into_a_rectangle_of_some_pictures() -> None:
    x = torch.zeros(400, 1, 24, 32, dtype=torch.uint8)
    out = augment(x, Augmentation(erasing=0.3), seeded())
    areas = []
    for changed in (out[:, 0] > 0).unbind():
        if changed.any():
            rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
            tall, wide = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
            assert changed.sum() >= 0.9 * tall * wide  # noise is 0, too
            areas.append(float(tall * wide) / changed.numel())
    assert len(areas) == pytest.approx(0.3 * 400, abs=30)
    assert 0 < min(areas) < 0.06
    assert 0.25 < max(areas) < 0.4


def test_strong_is_standard_with_more_and_each_part_is_an_option() -> None:
    def meant(**options: Any) -> Augmentation:
        return augmentation_of(TrainConfig(**options), photographs=True)

    assert meant() == Augmentation(magnitude=9)
    assert meant(augmentation="strong") == STRONG
    assert meant(augmentation="strong", randaugment=0, random_erasing=0.5) == Augmentation(
        crop=True, flip=True, magnitude=9, erasing=0.5
    )
    alone = meant(randaugment=3, randaugment_magnitude=15)
    assert alone == Augmentation(randaugment=3, magnitude=15)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"randaugment_magnitude": 5}, "--randaugment-magnitude is of RandAugment, which is off"),
        ({"random_erasing": 1.5}, "--random-erasing must be at least 0 and at most 1, got 1.5"),
        ({"mixup": -1.0}, "--mixup must be at least 0"),
        ({"label_smoothing": 1.0}, "--label-smoothing must be at least 0 and below 1, got 1.0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        TrainConfig(**options)


@pytest.mark.parametrize(
    "options", [{"augmentation": "strong"}, {"randaugment": 1}, {"cutmix": 1.0}]
)
def test_vectors_have_no_pixels_to_change(options: dict[str, Any]) -> None:
    rows = Split.from_arrays(np.zeros((200, 5), np.float32), np.arange(200) % 2)
    splits = Splits(rows, rows, rows, ("even", "odd"), photographs=False)
    (value,) = options.values()
    with pytest.raises(UserError, match=f"{value} needs images; this data set holds vectors"):
        check_fit(TrainConfig(**options), splits)
    check_fit(TrainConfig(mixup=0.2, label_smoothing=0.1), splits)

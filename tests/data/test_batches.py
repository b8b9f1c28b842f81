import numpy as np
import pytest
import torch

from noprop_dist.data import Normalisation, Split, augment, fit_normalisation, normalise


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 50, channels: int = 3) -> torch.Tensor:
    return torch.randint(1, 256, (n, channels, 6, 5), generator=seeded(), dtype=torch.uint8)


def test_normalised_images_have_mean_zero_and_deviation_one() -> None:
    x = images()
    norm = fit_normalisation(Split.from_arrays(x.numpy(), np.zeros(50, np.int64)))
    out = normalise(x, norm)
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        out.std(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0
    )


def test_constant_feature_does_not_explode() -> None:
    x = np.ones((4, 2), np.float32)
    norm = fit_normalisation(Split.from_arrays(x, np.zeros(4, np.int64)))
    assert normalise(torch.from_numpy(x), norm).abs().max() < 1e-3


def test_features_of_a_small_scale_count_as_much_as_others() -> None:
    x = np.random.default_rng(0).normal(3, [[1e-6, 1e6]], (500, 2)).astype(np.float32)
    x[:, 0] -= 3
    norm = fit_normalisation(Split.from_arrays(x, np.zeros(500, np.int64)))
    out = normalise(torch.from_numpy(x), norm)
    torch.testing.assert_close(out.std(dim=0), torch.ones(2), atol=0.02, rtol=0)


def test_vectors_are_normalised_by_feature() -> None:
    out = normalise(torch.tensor([[3.0, 5.0]]), Normalisation((1.0, 5.0), (2.0, 1.0)))
    assert out.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(("side", "padding"), [(28, 4), (8, 1), (4, 1)])
def test_standard_augmentation_crops_the_padded_image(side: int, padding: int) -> None:
    x = torch.randint(0, 256, (200, 1, side, side), generator=seeded()).to(torch.uint8)
    out = augment(x, "standard", False, seeded())
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
    out = augment(x, "standard", True, seeded())
    mirrored = (out[:, 0, 0, 10] < out[:, 0, 0, 30]) | (out[:, 0, 3, 10] < out[:, 0, 3, 30])
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.06)
    still = augment(x, "standard", False, seeded())
    assert (still[:, 0, 3, 10] >= still[:, 0, 3, 30]).all()


def test_augmentation_repeats_with_its_key() -> None:
    x = images()
    assert torch.equal(
        augment(x, "standard", True, seeded()), augment(x, "standard", True, seeded())
    )
    assert augment(x, "none", True, seeded()) is x


def test_unknown_augmentation_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown augmentation"):
        augment(images(), "heavy", False, seeded())

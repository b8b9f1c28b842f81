import numpy as np
import torch

from noprop_dist.data import Normalisation, Split, fit_normalisation, normalise


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

"""Samples that are mixed have labels that are mixed as much."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from noprop_dist.data import Mixing, balanced_weights
from noprop_dist.data.mixing import Samples

CPU = torch.device("cpu")
K = 7


def mixed(mixing: Mixing, x: Tensor, y: Tensor, seed: int = 0) -> Samples:
    return mixing.on(CPU)(x, y, torch.Generator().manual_seed(seed))


def labels(n: int = 500) -> Tensor:
    return torch.randint(0, K, (n,), generator=torch.Generator().manual_seed(1))


def told_by_colour(y: Tensor, side: int = 12) -> Tensor:
    """Pictures of as many channels as classes, of which that of the label is bright."""
    bright = torch.nn.functional.one_hot(y, K).float()
    return bright[:, :, None, None].expand(-1, -1, side, side)


@pytest.mark.parametrize(
    "mixing", [Mixing(K, mixup=0.4), Mixing(K, cutmix=1.0), Mixing(K, mixup=0.4, cutmix=1.0)]
)
def test_a_label_is_as_mixed_as_its_picture(mixing: Mixing) -> None:
    y = labels()
    x, p, weight = mixed(mixing, told_by_colour(y), y)
    torch.testing.assert_close(x.mean(dim=(2, 3)), p, atol=1e-5, rtol=0)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(500))
    assert weight is None
    assert ((p > 0.01).sum(dim=1) == 2).float().mean() > 0.5
    cut = ((x == 0) | (x == 1)).all(dim=(1, 2, 3)).float().mean().item()
    expected = {(0.4, 0.0): 1 / K, (0.0, 1.0): 1.0, (0.4, 1.0): 0.5 + 0.5 / K}
    assert cut == pytest.approx(expected[mixing.mixup, mixing.cutmix], abs=0.08)


def test_a_sample_and_its_label_are_mixed_as_by_torchvision() -> None:
    """Which takes one share, or one rectangle, a batch: that of every sample in turn."""
    y = torch.arange(K)
    x = torch.rand(K, 3, 12, 16, generator=torch.Generator().manual_seed(2))
    of_mixup, of_cutmix = v2.MixUp(num_classes=K), v2.CutMix(num_classes=K)
    mixup, cutmix = mixed(Mixing(K, mixup=1.0), x, y), mixed(Mixing(K, cutmix=1.0), x, y)
    for i in range(K):
        given = {"labels": y, "batch_size": K, "lam": float(mixup.y[i, i])}
        for there, here in ((x, mixup.x), (y, mixup.y)):
            torch.testing.assert_close(of_mixup.transform(there, given)[i], here[i])
        rows, columns = (cutmix.x[i] != x[i]).any(0).nonzero(as_tuple=True)
        ends = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        box = tuple(map(int, ends)) if len(rows) else (0, 0, 0, 0)
        own = 1 - (box[2] - box[0]) * (box[3] - box[1]) / (12 * 16)
        given = {"labels": y, "batch_size": K, "box": box, "lam_adjusted": own}
        for there, here in ((x, cutmix.x), (y, cutmix.y)):
            torch.testing.assert_close(of_cutmix.transform(there, given)[i], here[i])


@pytest.mark.parametrize("a", [0.2, 1.0, 4.0])
def test_shares_are_those_of_a_beta_distribution(a: float) -> None:
    x, y = torch.arange(20_000.0)[:, None], torch.arange(20_000) % 2
    share = mixed(Mixing(2, mixup=a), x, y).y.gather(1, y[:, None])
    assert share.mean().item() == pytest.approx(0.5, abs=0.01)
    assert share.var().item() == pytest.approx(1 / (4 * (2 * a + 1)), rel=0.04)


def test_vectors_can_be_mixed_and_the_key_decides_how() -> None:
    y = labels(50)
    x = torch.nn.functional.one_hot(y, K).float()
    first, again, other = (mixed(Mixing(K, mixup=1.0), x, y, seed) for seed in (1, 1, 2))
    torch.testing.assert_close(first.x, first.y, atol=1e-6, rtol=0)
    assert torch.equal(first.x, again.x)
    assert not torch.equal(first.x, other.x)


def test_a_smoothed_label_gives_every_class_its_share() -> None:
    y = labels(20)
    x = torch.rand(20, 3)
    samples = mixed(Mixing(K, smoothing=0.14), x, y)
    assert samples.x is x
    torch.testing.assert_close(samples.y.amax(dim=1), torch.full((20,), 0.88))
    torch.testing.assert_close(samples.y.amin(dim=1), torch.full((20,), 0.02))
    assert torch.equal(samples.likeliest, y)


def test_by_default_samples_are_what_they_were() -> None:
    x, y = torch.rand(5, 3), labels(5)
    samples = mixed(Mixing(K), x, y)
    assert samples.x is x
    assert samples.y is y
    assert samples.weight is None


def test_balanced_weights_let_every_class_count_as_much() -> None:
    y = np.repeat([0, 1, 3], [90, 9, 1])
    weights = np.array(balanced_weights(y, 4))
    assert weights[y].mean() == pytest.approx(1)
    sums = [weights[y][y == k].sum() for k in range(4)]
    assert sums == pytest.approx([100 / 3, 100 / 3, 0, 100 / 3])


def test_a_mixed_sample_counts_as_its_parts_do() -> None:
    y = labels()
    weights = tuple(float(k) for k in range(K))
    samples = mixed(Mixing(K, mixup=1.0, class_weights=weights), told_by_colour(y), y)
    assert samples.weight is not None
    torch.testing.assert_close(samples.weight, samples.y @ torch.tensor(weights))
    plain = mixed(Mixing(K, class_weights=weights), told_by_colour(y), y)
    assert plain.weight is not None
    assert torch.equal(plain.weight, y.float())

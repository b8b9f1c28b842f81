import pytest
import torch

from noprop_dist.maths.embedding import (
    embedding_distances,
    learned_embedding,
    one_hot_embedding,
    prototype_index,
)
from noprop_dist.maths.keys import key, numpy_generator, torch_generator


def test_learned_embedding_starts_orthonormal_where_it_can() -> None:
    w = learned_embedding(10, 64, torch_generator(0, "embedding"))
    torch.testing.assert_close(w @ w.T, torch.eye(10), atol=1e-6, rtol=0)


def test_learned_embedding_narrower_than_the_classes_has_distinct_rows() -> None:
    w = learned_embedding(10, 3, torch_generator(0, "embedding"))
    assert w.shape == (10, 3)
    assert embedding_distances(w)[0] > 0


def test_one_hot_distances_are_all_root_two() -> None:
    assert embedding_distances(one_hot_embedding(4)) == pytest.approx((2**0.5, 2**0.5))


def test_prototype_is_the_image_of_smallest_median_distance() -> None:
    flat = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    medians = {
        i: torch.stack([(flat[i] - flat[j]).norm() for j in range(60) if j != i]).median().item()
        for i in range(60)
    }
    assert medians[prototype_index(flat)] == pytest.approx(min(medians.values()), abs=1e-5)


def test_prototype_of_one_image_is_that_image() -> None:
    assert prototype_index(torch.tensor([[5.0]])) == 0


def test_keys_differ_by_every_part_and_repeat() -> None:
    tuples = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a", 1, 1), (0, "a", 11)]
    keys = {key(*parts) for parts in tuples}
    assert len(keys) == len(tuples)
    assert all(0 <= k < 2**63 for k in keys)
    assert key(0, "a", 1) == key(0, "a", 1)


def test_generators_of_one_key_draw_the_same() -> None:
    draws = [torch.randn(3, generator=torch_generator(0, "x", 1)) for _ in range(2)]
    assert torch.equal(*draws)
    assert numpy_generator(0, "x").random() == numpy_generator(0, "x").random()
    assert numpy_generator(0, "x").random() != numpy_generator(0, "y").random()

import numpy as np
import pytest

from noprop_dist.data import Split, load_dataset, split_validation


def test_take_crosses_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noprop_dist.data.shards.SHARD_ROWS", 4)
    x = np.arange(10, dtype=np.float32)[:, None]
    split = Split.from_arrays(x, np.arange(10))
    assert len(split.xs) == 3
    taken, labels = split.take(np.array([9, 0, 5, 4]))
    assert taken[:, 0].tolist() == labels.tolist() == [9, 0, 5, 4]
    assert split.select(np.array([8, 1])).labels.tolist() == [8, 1]
    with pytest.raises(IndexError, match="0 to 9"):
        split.take(np.array([10]))
    with pytest.raises(IndexError, match="0 to 3"):
        split.select(np.arange(4)).take(np.array([-1]))


def test_validation_split_is_stratified_and_keyed() -> None:
    train = load_dataset("digits").train
    rest, held = split_validation(train, 0.1, seed=3)
    assert len(rest) + len(held) == len(train)
    shares = np.bincount(held.labels) / np.bincount(train.labels)
    assert shares.min() > 0.08
    assert shares.max() < 0.12
    again, other = split_validation(train, 0.1, seed=3)[1], split_validation(train, 0.1, seed=4)[1]
    assert np.array_equal(held.xs[0], again.xs[0])
    assert not np.array_equal(held.xs[0], other.xs[0])
    assert len(split_validation(train, 0.0, seed=3)[1]) == 0


def test_small_classes_are_validated_and_never_emptied() -> None:
    y = np.array([0] * 50 + [1] * 3 + [2])
    split = Split.from_arrays(np.zeros((54, 1, 4, 4), np.uint8), y)
    train, val = split_validation(split, 0.1, seed=0)
    assert np.bincount(val.labels, minlength=3).tolist() == [5, 1, 0]
    assert np.bincount(train.labels, minlength=3).tolist() == [45, 2, 1]

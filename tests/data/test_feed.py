"""The same batches, wherever the rows of a split lie."""

import numpy as np
import pytest
import torch

from noprop_dist.data.feed import Feed, HostFeed, ResidentFeed, StreamedFeed, make_feed
from noprop_dist.data.shards import SHARD_ROWS, Split

CPU = torch.device("cpu")
DRAW = np.random.default_rng(0)
IMAGES = Split.from_arrays(
    DRAW.integers(0, 256, (SHARD_ROWS + 900, 1, 4, 4), dtype=np.uint8),
    DRAW.integers(0, 10, SHARD_ROWS + 900),
)
VECTORS = Split.from_arrays(
    DRAW.standard_normal((300, 5), dtype=np.float32), DRAW.integers(0, 3, 300)
)


@pytest.mark.parametrize("split", [IMAGES, VECTORS], ids=["images", "vectors"])
@pytest.mark.parametrize("size", [1, 64, 100])
def test_every_feed_gives_the_batches_of_the_split(split: Split, size: int) -> None:
    order = np.random.default_rng(1).permutation(len(split))[: 5 * size]
    expected = [split.take(order[i : i + size]) for i in range(0, len(order), size)]
    feeds: list[Feed] = [HostFeed(split), ResidentFeed(split, CPU), StreamedFeed(split, CPU)]
    for feed in feeds:
        batches = [(x.clone(), y.clone()) for x, y in feed.batches(order, size)]
        assert len(batches) == len(expected)
        for (x, y), (images, labels) in zip(batches, expected, strict=True):
            assert x.dtype == torch.from_numpy(images).dtype
            assert torch.equal(x, torch.from_numpy(images))
            assert torch.equal(y, torch.from_numpy(labels))


def test_a_streamed_batch_is_sent_while_the_one_before_is_in_use() -> None:
    taken: list[int] = []

    class Watched(Split):
        def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            taken.append(len(rows))
            return super().take(rows)

    batches = StreamedFeed(Watched(IMAGES.xs, IMAGES.ys, IMAGES.sample_shape), CPU).batches(
        np.arange(30), 10
    )
    next(batches)
    assert len(taken) == 2


def test_no_rows_are_no_batches() -> None:
    for feed in (make_feed(IMAGES, CPU), ResidentFeed(IMAGES, CPU), StreamedFeed(IMAGES, CPU)):
        assert not list(feed.batches(np.arange(0), 8))

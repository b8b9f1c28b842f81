"""Where decoded images go, in memory or on disk, and the splits that they become.

C H W image axes.
"""

from collections import Counter, deque
from typing import Protocol

import numpy as np
from typing_extensions import override

from noprop_dist.data.account import Account
from noprop_dist.data.shards import SHARD_ROWS, Array, Split
from noprop_dist.data.stored import Manifest, RowsWriter, StoredRows
from noprop_dist.text import shown, size

DecodedSplits = tuple[list[Split], Account]  # and what became of the images


class Sink(Protocol):
    """Takes decoded images."""

    def begin_split(self) -> None:
        """What comes now is of the next split."""

    def room(self, count: int) -> Array:
        """Uint8 (n, C, H, W) to decode the next images into, n at most ``count`` and at least 1."""

    def add(self, pixels: Array, labels: list[int]) -> None:
        """Take the first images of the room that was given out first, and their labels."""


class InMemory(Sink):
    """See ``Sink``: images are decoded to where they stay.

    Args:
        shape: (C, H, W).
        count: images that come at most.
    """

    def __init__(self, shape: tuple[int, ...], count: int) -> None:
        self._shape = (min(SHARD_ROWS, count), *shape)
        self._xs: list[list[Array]] = []  # by split, its shards
        self._labels: list[list[int]] = []

    @override
    def begin_split(self) -> None:
        self._xs.append([])
        self._labels.append([])
        self._given, self._starts = 0, deque[int]()

    @override
    def room(self, count: int) -> Array:
        place = self._given % SHARD_ROWS
        if place == 0:
            self._xs[-1].append(np.empty(self._shape, np.uint8))
        self._starts.append(self._given)
        rows = self._xs[-1][-1][place : place + count]
        self._given += len(rows)
        return rows

    @override
    def add(self, pixels: Array, labels: list[int]) -> None:
        filled = len(self._labels[-1])
        if self._starts.popleft() != filled:  # images were left out before
            for i, image in enumerate(pixels, filled):
                self._xs[-1][i // SHARD_ROWS][i % SHARD_ROWS] = image
        self._labels[-1] += labels

    def splits(self) -> list[Split]:
        """What was taken, split by split."""
        return [self._split(*split) for split in zip(self._xs, self._labels, strict=True)]

    def _split(self, xs: list[Array], labels: list[int]) -> Split:
        y = np.array(labels, dtype=np.int64)
        ys = tuple(y[i : i + SHARD_ROWS] for i in range(0, len(y), SHARD_ROWS))
        filled = tuple(x[: len(here)] for x, here in zip(xs, ys, strict=False))
        return Split(filled, ys, self._shape[1:])


class OnDisk(Sink):
    """See ``Sink``.

    Args:
        writer: of the entry.
        shape: (C, H, W).
    """

    def __init__(self, writer: RowsWriter, shape: tuple[int, ...]) -> None:
        self._writer, self._shape = writer, shape
        self._labels: list[int] = []
        self._starts: list[int] = []

    @override
    def begin_split(self) -> None:
        self._starts.append(len(self._labels))

    @override
    def room(self, count: int) -> Array:
        return np.empty((count, *self._shape), np.uint8)

    @override
    def add(self, pixels: Array, labels: list[int]) -> None:
        self._writer.add(pixels)
        self._labels += labels

    def close(self, account: Account) -> Manifest:
        """What was taken; nothing more is."""
        chunks = self._writer.close(np.array(self._labels, dtype=np.int64))
        ends = [*self._starts[1:], len(self._labels)]
        return Manifest(
            shape=self._shape,
            splits=tuple(end - start for start, end in zip(self._starts, ends, strict=True)),
            chunks=chunks,
            num_skipped=account.num_skipped,
            passed_over=dict(account.passed_over),
            remarks=dict(account.remarks),
        )


def from_disk(stored: StoredRows, again: str = "") -> DecodedSplits:
    """The splits of an entry; ``again`` is why it was made once more, for people."""
    told = stored.manifest
    account = Account(
        "images",
        passed_over=Counter(told.passed_over),
        remarks=Counter(told.remarks),
        num_skipped=told.num_skipped,
        kept=f"{shown(stored.folder)} ({size(told.num_bytes)}{again})",
    )
    return Split.all_stored(stored), account

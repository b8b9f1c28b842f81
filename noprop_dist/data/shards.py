"""Decoded samples in shards: the form in which data is kept, shared and read.

N rows, B rows of a batch, C H W image axes, F features of a vector.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from noprop_dist.data.stored import StoredImages, StoredRows

SHARD_ROWS = 8192

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """The rows of one split. Its arrays may be read-only and are never written to.

    Attributes:
        xs: shards of uint8 (n, C, H, W) images or of float32 (n, F) vectors, in memory or all in
            one file; every shard but the last holds SHARD_ROWS rows.
        ys: int64 (n,) labels of each shard.
        sample_shape: (C, H, W) of an image or (F,) of a vector.
    """

    xs: tuple[Array | StoredImages, ...]
    ys: tuple[Rows, ...]
    sample_shape: tuple[int, ...]

    @classmethod
    def from_arrays(cls, x: Array, y: Rows) -> "Split":
        """Cut (N, ...) arrays into shards; views, no copies."""
        starts = range(0, len(y), SHARD_ROWS)
        return cls(
            tuple(x[i : i + SHARD_ROWS] for i in starts),
            tuple(y[i : i + SHARD_ROWS] for i in starts),
            x.shape[1:],
        )

    @classmethod
    def from_stored(cls, stored: StoredRows, rows: Rows, y: Rows) -> "Split":
        """Places in an entry on disk and their labels, (N,) each; no image is read."""
        starts = range(0, len(y), SHARD_ROWS)
        return cls(
            tuple(StoredImages(stored, rows[i : i + SHARD_ROWS]) for i in starts),
            tuple(y[i : i + SHARD_ROWS] for i in starts),
            stored.manifest.shape,
        )

    @classmethod
    def all_stored(cls, stored: StoredRows) -> "list[Split]":
        """The splits of an entry on disk."""
        bounds, labels = [0, *accumulate(stored.manifest.splits)], stored.labels
        return [
            cls.from_stored(stored, np.arange(start, end), labels[start:end])
            for start, end in pairwise(bounds)
        ]

    @classmethod
    def join(cls, splits: "Sequence[Split]") -> "Split":
        """The rows of one or more splits of one shape, one after the other."""
        if len(splits) == 1:
            return splits[0]
        xs = tuple(x for split in splits for x in split.xs)
        labels = np.concatenate([s.labels for s in splits])
        if stored := _stored(xs):
            return cls.from_stored(*stored, labels)
        return cls.from_arrays(np.concatenate([np.asarray(x) for x in xs]), labels)

    def relabelled(self, order: Rows) -> "Split":
        """The same samples, where label k has become ``order[k]``."""
        return Split(self.xs, tuple(order[y] for y in self.ys), self.sample_shape)

    def __len__(self) -> int:
        return sum(map(len, self.ys))

    @property
    def labels(self) -> Rows:
        """All labels, int64 (N,)."""
        return np.concatenate(self.ys) if self.ys else np.zeros(0, dtype=np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of all samples and labels."""
        return sum(array.nbytes for array in (*self.xs, *self.ys))

    @property
    def memory_bytes(self) -> int:
        """Bytes of what of it is in memory."""
        held = (x.rows if isinstance(x, StoredImages) else x for x in self.xs)
        return sum(array.nbytes for array in (*held, *self.ys))

    @property
    def stored(self) -> StoredRows | None:
        """The entry on disk that holds its images, or None."""
        found = _stored(self.xs)
        return found and found[0]

    def stored_as(self, stored: StoredRows) -> "Split":
        """The same rows of the same entry, told in another way."""
        found = _stored(self.xs)
        return self if found is None else Split.from_stored(stored, found[1], self.labels)

    @property
    def is_vector(self) -> bool:
        """Whether a sample is a vector of features."""
        return len(self.sample_shape) == 1

    def take(self, rows: Rows) -> tuple[Array, Rows]:
        """The samples and labels of ``rows`` (B,), in that order, as fresh arrays.

        Raises:
            IndexError: a row is outside 0..N-1.
        """
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows run from 0 to {len(self) - 1}, got {rows.min()}..{rows.max()}")
        if len(self.xs) == 1:
            return self.xs[0][rows], self.ys[0][rows]
        dtype = self.xs[0].dtype if self.xs else np.dtype(np.uint8)
        x = np.empty((len(rows), *self.sample_shape), dtype)
        y = np.empty(len(rows), np.int64)
        shard, place = np.divmod(rows, SHARD_ROWS)
        for i in np.unique(shard):
            here = shard == i
            x[here] = self.xs[i][place[here]]
            y[here] = self.ys[i][place[here]]
        return x, y

    def batches(self, size: int) -> Iterator[tuple[Array, Rows]]:
        """All rows in order, at most ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))

    def samples(self) -> Iterator[Array]:
        """Every sample, in order."""
        return (sample for x in self.xs for piece in _pieces(x) for sample in piece)

    def select(self, rows: Rows) -> "Split":
        """A split of its own with these rows, shard by shard so that memory stays small.

        What is on disk is not copied.
        """
        if stored := _stored(self.xs):
            return Split.from_stored(stored[0], stored[1][rows], self.labels[rows])
        parts = [self.take(rows[i : i + SHARD_ROWS]) for i in range(0, len(rows), SHARD_ROWS)]
        return Split(tuple(x for x, _ in parts), tuple(y for _, y in parts), self.sample_shape)


def _stored(xs: Sequence[Array | StoredImages]) -> tuple[StoredRows, Rows] | None:
    """The entry that holds all of the shards and the places in it, where they are on disk."""
    images = [x for x in xs if isinstance(x, StoredImages)]
    if not images:
        return None
    return images[0].stored, np.concatenate([x.rows for x in images])


def _pieces(x: Array | StoredImages) -> Iterable[Array]:
    """All rows of a shard in order, as few at a time as memory needs."""
    return x.pieces() if isinstance(x, StoredImages) else (x,)


def count_common(some: Split, others: Split) -> int:
    """How many rows of ``some`` hold a sample that ``others`` holds too."""
    known = {hash(x.tobytes()) for x in others.samples()}
    return sum(hash(x.tobytes()) in known for x in some.samples())


def sha256_of_rows(*splits: Split) -> str:
    """A hash of every sample and label of the splits, in order."""
    digest = hashlib.sha256()
    for split in splits:
        for x, y in zip(split.xs, split.ys, strict=True):
            digest.update(f"{x.dtype} {x.shape};".encode())
            for piece in _pieces(x):
                digest.update(np.ascontiguousarray(piece).data)
            digest.update(np.ascontiguousarray(y).data)
    return digest.hexdigest()

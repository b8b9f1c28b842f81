"""Many encoded images to splits, on all cores: in memory, or on disk where they are large.

C H W image axes.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np
import PIL

from noprop_dist.data.account import Account, Reading
from noprop_dist.data.cache import cache_folder, made_in_cache
from noprop_dist.data.images import (
    MAX_THREADS,
    BadImageError,
    Decoded,
    Encoded,
    OwnPictureError,
    decode,
    peek,
    pillow_silenced,
)
from noprop_dist.data.shards import SHARD_ROWS, Array, Split
from noprop_dist.data.stored import Manifest, RowsWriter, StoredRows, find_stored, write_manifest
from noprop_dist.errors import UserError
from noprop_dist.host import count_cores, free_bytes
from noprop_dist.text import shown, size

# Of free memory, for images that stay there: splitting copies them, and Ray's store once more.
MEMORY_SHARE = 1 / 8
COPIES = 2  # of all images while they are split
LOOKED_AT = 400  # images whose headers tell the sizes that there are
SIDE = 224  # of images of several sizes, at most
CHUNK_BYTES = 2**22  # of decoded images that a thread hands over at once

Source = Callable[[], Iterable[Encoded]]  # the encoded images of a split in row order, each time


class _SizesDifferError(Exception):
    """Images that were looked at are of one size, and others are not."""


def decode_splits(
    sources: Sequence[Source], reading: Reading, account: Account, count: int, key: str | None
) -> list[Split]:
    """Decode several splits to the same number of channels and one height and width.

    Images of several sizes are resized to the median of their shorter sides, at most SIDE.

    Args:
        sources: per split.
        reading: how.
        account: told of what is left out, and of what changes an image's meaning.
        count: of all images.
        key: of the encoded images as they are now. Images that take more than MEMORY_SHARE are
            kept on disk under it; None keeps all in memory.

    Raises:
        UserError: a bad image, named; or more than memory, or the disk, holds.
    """
    seen = _look(sources, count)
    side = reading.several
    if side is None and seen:
        side = min(SIDE, int(median(min(height, width) for height, width, _ in seen)))
    chosen = reading.image_size
    # What stands and what lies may be one size once it is turned as EXIF says: that is tried.
    if chosen is None and len({frozenset(sides[:2]) for sides in seen}) > 1:
        chosen = side
    try:
        decoded = _Decoding(sources, replace(reading, image_size=chosen), count, seen).run(key)
    except _SizesDifferError:
        chosen = side
        decoded = _Decoding(sources, replace(reading, image_size=chosen), count, seen).run(key)
    account.add(decoded.num_skipped, decoded.passed_over, decoded.remarks)
    account.kept = decoded.kept
    if chosen != reading.image_size:
        told = f"of several sizes, resized and cropped to {chosen}x{chosen}"
        account.remarks[told] = sum(map(len, decoded.splits))
    return decoded.splits


def _look(sources: Sequence[Source], count: int) -> list[tuple[int, int, bool]]:
    """Of some images, as far apart as they come: height, width, and whether it is grey."""
    seen = []
    step = max(1, count // LOOKED_AT)
    for source in sources:
        for _, read, _ in islice(source(), 0, None, step):
            with suppress(BadImageError, OSError):  # named when it is decoded
                seen.append(peek(read()))
    return seen


@dataclass
class _Decoded:
    """Splits, and what became of the images; see ``Account``."""

    splits: list[Split]
    num_skipped: int
    passed_over: dict[str, int]
    remarks: dict[str, int]
    kept: str = ""


class _Sink(Protocol):
    """Takes decoded images; grey becomes colour where any is colour."""

    def begin_split(self) -> None:
        """What comes now is of the next split."""

    def add(self, image: Array, label: int) -> None:
        """Take an image, (C, H, W) with C 1 or 3."""


class _Decoding:
    """All images of a data set, read in one way.

    Args:
        sources: per split.
        reading: how; without a size all must be of one.
        count: of all images.
        seen: what some of their headers tell.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        reading: Reading,
        count: int,
        seen: Sequence[tuple[int, int, bool]],
    ) -> None:
        self._sources, self._reading, self._count = sources, reading, count
        height, width = seen[0][:2] if seen else (1, 1)
        if reading.image_size is not None:
            height = width = reading.image_size
        grey = all(grey for _, _, grey in seen)
        self._shape = (reading.channels or (1 if grey else 3), height, width)

    def run(self, key: str | None) -> _Decoded:
        """The splits: from the cache, or decoded now.

        Raises:
            UserError: see ``decode_splits``.
            _SizesDifferError: no size is given, and the images differ in theirs.
        """
        if key is not None and (found := self._find(key)):
            return _from_disk(found)
        num_bytes, free = self._count * math.prod(self._shape), free_bytes()
        if key is not None and num_bytes > MEMORY_SHARE * free:
            return self._to_disk(self._key(key, self._reading.channels), num_bytes)
        if COPIES * num_bytes > free:
            self._refuse(free)
        shards = _InMemory(self._count)
        counts = self._decode_into(shards)
        return _Decoded(shards.splits(), counts.num_skipped, counts.passed_over, counts.remarks)

    def _key(self, key: str, channels: int | None) -> str:
        how = (self._reading.image_size, channels, self._reading.skip_bad, PIL.__version__)
        return hashlib.sha256(f"{key} {how}".encode()).hexdigest()[:32]

    def _find(self, key: str) -> StoredRows | None:
        """What was decoded before, also where the channels were left to the images."""
        channels = self._reading.channels
        if found := find_stored(self._key(key, channels)):
            return found
        found = find_stored(self._key(key, None)) if channels else None
        return found if found and found.manifest.shape[0] == channels else None

    def _to_disk(self, key: str, num_bytes: int) -> _Decoded:
        waiting = "waiting for another process that decodes these images"
        with made_in_cache(key, lambda: self._reading.shown(waiting, 0)) as begin:
            if found := find_stored(key):  # made meanwhile
                return _from_disk(found)
            again = ", again: what was there was damaged" if (cache_folder() / key).exists() else ""
            folder = begin(num_bytes + 8 * self._count)
            rows = _OnDisk(folder)
            counts = self._decode_into(rows)
            manifest = rows.close(counts)
            write_manifest(folder, manifest)
        return _from_disk(StoredRows(str(cache_folder() / key), manifest), again)

    def _refuse(self, free: int) -> None:
        """Refuse more images than memory holds, of which splitting needs a copy."""
        channels, height, width = self._shape
        copies = COPIES * self._count * channels
        side = int(math.sqrt(free / copies))
        advice = f"give --image-size {side} or less" if side >= 8 else "give fewer images"
        raise UserError(
            f"{self._count:,} images of {width}x{height} take {size(copies * height * width)} to "
            f"decode and split, and {size(free)} are free: {advice}."
        )

    def _decode_into(self, sink: _Sink) -> Account:
        """Decode all images; what becomes of those that are left out, and of others."""
        account = Account("images")
        threads = min(count_cores(), MAX_THREADS)
        per_chunk = min(256, max(1, CHUNK_BYTES // math.prod(self._shape)))
        size_of_first = None
        told = self._reading.shown("decoding images", self._count)
        with pillow_silenced(), ThreadPoolExecutor(threads) as pool, told as done:
            for source in self._sources:
                sink.begin_split()
                for (name, _, label), image in self._decoded(pool, threads, source(), per_chunk):
                    done(1)
                    if isinstance(image, OwnPictureError):
                        account.passed_over["drawn by noprop"] += 1
                    elif isinstance(image, Decoded):
                        size_of_first = size_of_first or image.pixels.shape[1:]
                        if image.pixels.shape[1:] != size_of_first:
                            raise _SizesDifferError
                        sink.add(image.pixels, label)
                        account.remarks.update(image.remarks)
                    elif self._reading.skip_bad:
                        account.num_skipped += 1
                    else:
                        raise UserError(
                            f"{name} {image}: mend or remove it, or give --skip-bad-images."
                        ) from image
        return account

    def _decoded(
        self, pool: ThreadPoolExecutor, threads: int, source: Iterable[Encoded], per_chunk: int
    ) -> Iterator[tuple[Encoded, Decoded | BadImageError]]:
        """Decode in order, a bounded number of images ahead."""

        def work(chunk: list[Encoded]) -> list[tuple[Encoded, Decoded | BadImageError]]:
            return [(item, _try_decode(item[1], self._reading)) for item in chunk]

        waiting = []
        for chunk in chunks(source, per_chunk):
            waiting.append(pool.submit(work, chunk))
            if len(waiting) > 2 * threads:
                yield from waiting.pop(0).result()
        for future in waiting:
            yield from future.result()


def _try_decode(read: Callable[[], bytes], reading: Reading) -> Decoded | BadImageError:
    try:
        return decode(read(), reading.image_size, channels=reading.channels)
    except BadImageError as error:
        return error
    except OSError as error:
        return BadImageError(f"cannot be read ({error.strerror})")


def chunks(items: Iterable[Encoded], size: int) -> Iterator[list[Encoded]]:
    """Lists of at most ``size`` items, in order."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


class _InMemory:
    """See ``_Sink``; told how many images come at most."""

    def __init__(self, count: int) -> None:
        self._room = min(SHARD_ROWS, count)
        self._xs: list[list[Array]] = []  # by split, its shards, the last one with room
        self._labels: list[list[int]] = []

    def begin_split(self) -> None:
        self._xs.append([])
        self._labels.append([])

    def add(self, image: Array, label: int) -> None:
        xs, labels = self._xs[-1], self._labels[-1]
        place = len(labels) % SHARD_ROWS
        if place == 0:
            xs.append(np.empty((self._room, *image.shape), np.uint8))  # taken where it is written
        if len(image) > xs[-1].shape[1]:
            grey = xs[-1][:place]
            xs[-1] = np.empty((self._room, *image.shape), np.uint8)
            xs[-1][:place] = grey  # repeated for every colour, as in the next line
        xs[-1][place] = image
        labels.append(label)

    def splits(self) -> list[Split]:
        channels = max((x.shape[1] for xs in self._xs for x in xs), default=1)
        return [self._split(*split, channels) for split in zip(self._xs, self._labels, strict=True)]

    def _split(self, xs: list[Array], labels: list[int], channels: int) -> Split:
        y = np.array(labels, dtype=np.int64)
        ys = [y[i : i + SHARD_ROWS] for i in range(0, len(y), SHARD_ROWS)]
        filled = [x[: len(y)] for x, y in zip(xs, ys, strict=True)]
        wide = tuple(x if x.shape[1] == channels else x.repeat(channels, axis=1) for x in filled)
        return Split(wide, tuple(ys), wide[0].shape[1:] if wide else (channels, 1, 1))


class _OnDisk:
    """See ``_Sink``.

    Args:
        folder: of the entry.
    """

    def __init__(self, folder: Path) -> None:
        self._writer = RowsWriter(folder)
        self._labels: list[int] = []
        self._starts: list[int] = []

    def begin_split(self) -> None:
        self._starts.append(len(self._labels))

    def add(self, image: Array, label: int) -> None:
        self._writer.add(image)
        self._labels.append(label)

    def close(self, account: Account) -> Manifest:
        chunks = self._writer.close(np.array(self._labels, dtype=np.int64))
        ends = [*self._starts[1:], len(self._labels)]
        return Manifest(
            shape=self._writer.shape or (1, 1, 1),
            splits=tuple(end - start for start, end in zip(self._starts, ends, strict=True)),
            chunks=chunks,
            num_skipped=account.num_skipped,
            passed_over=dict(account.passed_over),
            remarks=dict(account.remarks),
        )


def _from_disk(stored: StoredRows, again: str = "") -> _Decoded:
    """The splits of an entry; ``again`` is why it was made once more, for people."""
    told = stored.manifest
    kept = f"{shown(stored.folder)} ({size(told.num_bytes)}{again})"
    splits = Split.all_stored(stored)
    return _Decoded(splits, told.num_skipped, told.passed_over, told.remarks, kept)

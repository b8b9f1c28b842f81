"""Many encoded images to splits: in memory, or on disk where they take much.

C H W image axes.
"""

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median

import PIL

from noprop_dist.data.account import Account, Reading
from noprop_dist.data.cache import cache_folder, made_in_cache
from noprop_dist.data.decoded import DecodedSplits, InMemory, OnDisk, Sink, from_disk
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
from noprop_dist.data.shards import Array, Split
from noprop_dist.data.stored import RowsWriter, StoredRows, find_stored, write_manifest
from noprop_dist.errors import UserError
from noprop_dist.host import count_cores, free_bytes
from noprop_dist.text import size

# Of free memory, for images that stay there: splitting copies them, and Ray's store once more.
MEMORY_SHARE = 1 / 8
COPIES = 2  # of all images while they are split
LOOKED_AT = 400  # images whose headers tell the sizes that there are
LOOKED_INTO = 32  # of them are decoded until one has colours
SIDE = 224  # of images of several sizes, at most
SMALL = 64 * 64  # pixels; threads that decode fewer wait for the interpreter lock, not for pixels
CHUNK_BYTES = 2**22  # of decoded images that a thread hands over at once

Source = Callable[[], Iterable[Encoded]]  # the encoded images of a split in row order, each time


class _SizesDifferError(Exception):
    """Images that were looked at are of one size, and others are not."""


class _ColourError(Exception):
    """Images that were looked at are grey, and others are not."""


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
    sides = _look(sources, count)
    side = reading.several
    if side is None and sides:
        side = min(SIDE, int(median(map(min, sides))))
    chosen = reading.image_size
    # What stands and what lies may be one size once it is turned as EXIF says: that is tried.
    if chosen is None and len(set(map(frozenset, sides))) > 1:
        chosen = side
    large = not sides or median(map(math.prod, sides)) >= SMALL
    colours = False
    while True:
        read = replace(reading, image_size=chosen)
        try:
            splits, told = _Decoding(sources, read, count, colours, large=large).run(key)
            break
        except _SizesDifferError:
            chosen = side or SIDE  # not one header that was looked at is good
        except _ColourError:
            colours = True
    account.add(told)
    if chosen != reading.image_size:
        resized = f"of several sizes, resized and cropped to {chosen}x{chosen}"
        account.remarks[resized] = sum(map(len, splits))
    return splits


def _look(sources: Sequence[Source], count: int) -> list[tuple[int, int]]:
    """Height and width of some images, as far apart as they come; decodes nothing."""
    seen = []
    for read in _some(sources, count):
        with suppress(BadImageError, OSError):  # named when it is decoded
            seen.append(peek(read()))
    return seen


def _some(sources: Sequence[Source], count: int) -> Iterator[Callable[[], bytes]]:
    step = max(1, count // LOOKED_AT)
    return (read for source in sources for _, read, _ in islice(source(), 0, None, step))


@dataclass
class _Chunk:
    """What became of some images.

    Attributes:
        pixels: uint8 (n, C, H, W) of those that are good.
        labels: theirs.
        bad: names of the others, and why.
        remarks: see ``Account``.
    """

    pixels: Array
    labels: list[int]
    bad: list[tuple[str, BadImageError]]
    remarks: list[str]


@dataclass
class _Decoding:
    """All images of a data set, read in one way.

    Attributes:
        sources: per split.
        reading: how; without a size all must be of one.
        count: of all images.
        colours: whether some are known to have any.
        large: whether they have so many pixels that threads decode them side by side.
    """

    sources: Sequence[Source]
    reading: Reading
    count: int
    colours: bool
    large: bool

    def run(self, key: str | None) -> DecodedSplits:
        """The splits: from the cache, or decoded now.

        Raises:
            UserError: see ``decode_splits``.
            _SizesDifferError: no size is given, and the images differ in theirs.
            _ColourError: none of those that were decoded first has colours, and another has.
        """
        if key is not None and (found := self._find(key)):
            return from_disk(found)
        self._shape = self._look_into()
        num_bytes, free = self.count * math.prod(self._shape), free_bytes()
        if key is not None and num_bytes > MEMORY_SHARE * free:
            return self._to_disk(self._key(key, self.reading.channels), num_bytes)
        if COPIES * num_bytes > free:
            self._refuse(free)
        shards = InMemory(self._shape, self.count)
        account = self._decode_into(shards)
        return shards.splits(), account

    def _look_into(self) -> tuple[int, ...]:
        """(C, H, W) of images, as some of them tell that are decoded until one has colours."""
        shapes: list[tuple[int, ...]] = []
        with pillow_silenced():
            for read in _some(self.sources, self.count):
                with suppress(BadImageError):  # named when all are decoded
                    shapes.append(_decode(read, self.reading)[0].shape)
                if len(shapes) == LOOKED_INTO or (shapes and shapes[-1][0] == 3):
                    break
        side = self.reading.image_size or 1
        size = shapes[0][1:] if shapes else (side, side)
        colours = self.colours or any(channels == 3 for channels, _, _ in shapes)
        return (self.reading.channels or (3 if colours else 1), *size)

    def _key(self, key: str, channels: int | None) -> str:
        how = (self.reading.image_size, channels, self.reading.skip_bad, PIL.__version__)
        return hashlib.sha256(f"{key} {how}".encode()).hexdigest()[:32]

    def _find(self, key: str) -> StoredRows | None:
        """What was decoded before, also where the channels were left to the images."""
        channels = self.reading.channels
        if found := find_stored(self._key(key, channels)):
            return found
        found = find_stored(self._key(key, None)) if channels else None
        return found if found and found.manifest.shape[0] == channels else None

    def _to_disk(self, key: str, num_bytes: int) -> DecodedSplits:
        with made_in_cache(key, self.reading.shown, "decodes these images") as begin:
            if found := find_stored(key):  # made meanwhile
                return from_disk(found)
            again = ", again: what was there was damaged" if (cache_folder() / key).exists() else ""
            folder = begin(num_bytes + 8 * self.count)
            with RowsWriter(folder) as writer:
                rows = OnDisk(writer, self._shape)
                manifest = rows.close(self._decode_into(rows))
            write_manifest(folder, manifest)
        return from_disk(StoredRows(str(cache_folder() / key), manifest), again)

    def _refuse(self, free: int) -> None:
        """Refuse more images than memory holds, of which splitting needs a copy."""
        channels, height, width = self._shape
        copies = COPIES * self.count * channels
        side = int(math.sqrt(free / copies))
        advice = f"give --image-size {side} or less" if side >= 8 else "give fewer images"
        raise UserError(
            f"{self.count:,} images of {width}x{height} take {size(copies * height * width)} to "
            f"decode and split, and {size(free)} are free: {advice}."
        )

    def _decode_into(self, sink: Sink) -> Account:
        """Decode all images; what becomes of those that are left out, and of others."""
        account = Account("images")
        told = self.reading.shown("decoding images", self.count)
        threads = min(count_cores(), MAX_THREADS) if self.large else 1
        with pillow_silenced(), ThreadPoolExecutor(threads) as pool, told as done:
            for source in self.sources:
                sink.begin_split()
                for chunk in self._decoded(pool, threads, source(), sink):
                    done(len(chunk.labels) + len(chunk.bad))
                    for name, error in chunk.bad:
                        if isinstance(error, OwnPictureError):
                            account.passed_over["drawn by noprop"] += 1
                        elif self.reading.skip_bad:
                            account.num_skipped += 1
                        else:
                            raise UserError(
                                f"{name} {error}: mend or remove it, or give --skip-bad-images."
                            ) from error
                    sink.add(chunk.pixels, chunk.labels)
                    account.remarks.update(chunk.remarks)
        return account

    def _decoded(
        self, pool: ThreadPoolExecutor, threads: int, source: Iterable[Encoded], sink: Sink
    ) -> Iterator[_Chunk]:
        """Decode in order, a bounded number of images ahead."""
        per_chunk = min(256, max(1, CHUNK_BYTES // math.prod(self._shape)))
        waiting, items = deque[Future[_Chunk]](), iter(source)
        while here := list(islice(items, len(into := sink.room(per_chunk)))):
            waiting.append(pool.submit(_decode_chunk, here, self.reading, into))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _decode_chunk(items: list[Encoded], reading: Reading, into: Array) -> _Chunk:
    """Decode into (n, C, H, W), where room is taken of the system as it is written.

    Raises:
        _SizesDifferError: an image is of another size.
        _ColourError: an image has colours where C is 1.
    """
    chunk = _Chunk(into, [], [], [])
    for name, read, label in items:
        try:
            pixels, remarks = _decode(read, reading)
        except BadImageError as error:
            chunk.bad.append((name, error))
            continue
        if pixels.shape[1:] != into.shape[2:]:
            raise _SizesDifferError
        if len(pixels) > into.shape[1]:
            raise _ColourError
        into[len(chunk.labels)] = pixels  # of one that is grey among colours, repeated for each
        chunk.labels.append(label)
        chunk.remarks += remarks
    chunk.pixels = into[: len(chunk.labels)]
    return chunk


def _decode(read: Callable[[], bytes], reading: Reading) -> Decoded:
    try:
        return decode(read(), reading.image_size, channels=reading.channels)
    except OSError as error:
        raise BadImageError(f"cannot be read ({error.strerror})") from error

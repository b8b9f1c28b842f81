"""Decoded images, or features of them, in a file that every process of a machine reads in place.

N rows, C H W image axes, F features. An entry is a folder with two files: ROWS holds N uint8 images
(C, H, W) or N float32 vectors (F,) and after them N int64 labels; MANIFEST is written last and
tells what must be there.
"""

import fcntl
import json
import math
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from noprop_dist.data.cache import cache_folder, made_in_cache
from noprop_dist.host import count_cores

ROWS, MANIFEST = "rows", "manifest.json"
FORMAT = 1
CHUNK = 32 * 2**20  # bytes that are summed, and sent to other machines, in one go
PIECE = 64  # rows that are read at once where all are

Fetch = Callable[[str, int, int], bytes]  # path, first byte, how many -> them, from where they are


@dataclass(frozen=True)
class Manifest:
    """What an entry holds.

    Attributes:
        shape: (C, H, W) or (F,).
        splits: how many rows of each split, one after the other.
        chunks: check sum of every CHUNK bytes of ROWS.
        num_skipped: bad images that were left out.
        passed_over: see ``Account``.
        remarks: see ``Account``.
        format: of the entry.
        dtype: "uint8" or "float32".
    """

    shape: tuple[int, ...]
    splits: tuple[int, ...]
    chunks: tuple[int, ...]
    num_skipped: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)
    remarks: dict[str, int] = field(default_factory=dict)
    format: int = FORMAT
    dtype: str = "uint8"

    @property
    def num_rows(self) -> int:
        """N."""
        return sum(self.splits)

    @property
    def pixel_bytes(self) -> int:
        """Of all images."""
        return self.num_rows * math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def num_bytes(self) -> int:
        """Of ROWS."""
        return self.pixel_bytes + 8 * self.num_rows


@dataclass(frozen=True)
class StoredRows:
    """An entry's rows, mapped when they are first looked at; travels as its path.

    Attributes:
        folder: of the entry, where it was made.
        manifest: what it holds.
        fetch: on a machine that does not have the file, reads it where it is.
    """

    folder: str
    manifest: Manifest
    fetch: Fetch | None = None

    @cached_property
    def pixels(self) -> npt.NDArray[Any]:
        """Uint8 (N, C, H, W) or float32 (N, F), read-only.

        In the cache it is in use for as long as this lives.
        """
        shape = (self.manifest.num_rows, *self.manifest.shape)
        with self._here().open("rb") as file:
            # Whoever makes room in the cache sees the lock, which the mapping's own copy keeps.
            fcntl.flock(file, fcntl.LOCK_SH)
            return np.asarray(np.memmap(file, self.manifest.dtype, "r", shape=shape))

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Int64 (N,)."""
        with self._here().open("rb") as file:
            file.seek(self.manifest.pixel_bytes)
            return np.fromfile(file, np.int64, self.manifest.num_rows)

    def _here(self) -> Path:
        """ROWS on this machine, brought here first if need be."""
        path = Path(self.folder) / ROWS
        if self.fetch is None or _has_size(path, self.manifest):
            return path
        own = cache_folder() / Path(self.folder).name
        with made_in_cache(own.name) as partial:
            if not _has_size(own / ROWS, self.manifest):
                self._bring(partial(self.manifest.num_bytes), str(path), self.fetch)
        return own / ROWS

    def _bring(self, folder: Path, path: str, fetch: Fetch) -> None:
        with (folder / ROWS).open("wb") as file:
            for i, known in enumerate(self.manifest.chunks):
                data = fetch(path, i * CHUNK, CHUNK)
                if zlib.crc32(data) != known:
                    raise RuntimeError(f"{path} has changed while it was sent")
                file.write(data)
        write_manifest(folder, self.manifest)

    def __getstate__(self) -> dict[str, Any]:
        """Without the mapping, which is made anew in every process."""
        return {k: v for k, v in vars(self).items() if k != "pixels"}


@dataclass(frozen=True)
class StoredImages:
    """Some of the images of an entry, in any order, as an array that is only read.

    Attributes:
        stored: the entry.
        rows: int64 (n,), places in it.
    """

    stored: StoredRows
    rows: npt.NDArray[np.int64]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Uint8, or float32 of vectors."""
        return np.dtype(self.stored.manifest.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, C, H, W) or (n, F)."""
        return (len(self.rows), *self.stored.manifest.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the images, all of them on disk."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """(B, C, H, W) or (B, F), a fresh array."""
        return self.stored.pixels[self.rows[places]]

    def pieces(self) -> Iterator[npt.NDArray[Any]]:
        """All images in order, a few at a time."""
        for start in range(0, len(self), PIECE):
            yield self.stored.pixels[self.rows[start : start + PIECE]]


def find_stored(key: str) -> StoredRows | None:
    """The entry of this key where it is whole, to the last bit."""
    folder = cache_folder() / key
    if not (folder / MANIFEST).is_file():
        return None
    try:
        told = json.loads((folder / MANIFEST).read_bytes())
        lists: dict[str, Any] = {k: tuple(told.pop(k)) for k in ("shape", "splits", "chunks")}
        manifest = Manifest(**lists, **told)
        whole = manifest.format == FORMAT and _has_size(folder / ROWS, manifest)
    except (ValueError, KeyError, TypeError, AttributeError):  # not as ``write_manifest`` writes it
        return None
    if not whole or check_sums(folder / ROWS) != manifest.chunks:
        return None
    folder.touch()  # what is used last is removed last
    return StoredRows(str(folder), manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Say that the entry is whole."""
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest)))


def check_sums(path: Path) -> tuple[int, ...]:
    """The CRC-32 of every CHUNK bytes of a file: it is damage that they tell, in little time."""

    def check_sum(start: int) -> int:
        with path.open("rb") as file:
            file.seek(start)
            return zlib.crc32(file.read(CHUNK))

    with ThreadPoolExecutor(count_cores()) as pool:
        return tuple(pool.map(check_sum, range(0, path.stat().st_size, CHUNK)))


def _has_size(path: Path, manifest: Manifest) -> bool:
    return path.is_file() and path.stat().st_size == manifest.num_bytes


class RowsWriter:
    """Writes the rows of an entry one after the other.

    In a ``with`` its file is closed whatever happens.

    Args:
        folder: of the entry.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ROWS
        self._file = self._path.open("wb")

    def add(self, rows: npt.NDArray[Any]) -> None:
        """Uint8 (n, C, H, W) or float32 (n, F), of one shape for all."""
        self._file.write(np.ascontiguousarray(rows).data)

    def close(self, labels: npt.NDArray[np.int64]) -> tuple[int, ...]:
        """Write the labels of all images too; the check sums of the file."""
        self._file.write(np.ascontiguousarray(labels).data)
        self._file.close()
        return check_sums(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

"""Pictures on disk: which there are, in order, and their pixels as a network takes them.

Training and ``noprop predict`` walk folders and read files by the same rules.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from noprop_dist.data.account import PassedOver
from noprop_dist.data.images import MAX_PIXELS, BadImageError, decode
from noprop_dist.data.shards import Array
from noprop_dist.run_files import LOCK, SIGNS

# The endings of images.FORMATS. Whatever else Pillow may know is passed over, and said.
SUFFIXES = frozenset(
    {
        ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif",
        ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".mpo",
    }
)  # fmt: skip
SHADOWS = frozenset({"@eaDir", "__MACOSX"})  # copies that a NAS and a Mac keep beside pictures
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class BadPicture:
    """A file that is left out.

    Attributes:
        path: where it is.
        reason: what it is or does, after its name.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class Limits:
    """What a file may take at most.

    Attributes:
        max_bytes: of the file, looked at before it is read.
        max_pixels: of the picture, looked at before it is decoded.
    """

    max_bytes: int = MAX_BYTES
    max_pixels: int = MAX_PIXELS


def find_pictures(
    paths: Iterable[str], passed_over: PassedOver | None = None
) -> Iterator[str | BadPicture]:
    """Files as given, and in each folder all pictures below it, by name; see ``pictures_below``."""
    passed_over = PassedOver() if passed_over is None else passed_over
    for path in paths:
        if not Path(path).is_dir():
            yield path
            continue
        found = False
        for item in pictures_below(path, passed_over):
            found = True
            yield item
        if not found:
            yield BadPicture(path, "holds no pictures")


def pictures_below(folder: str, passed_over: PassedOver) -> Iterator[str | BadPicture]:
    """The pictures below a folder by name; folders that cannot be read come as what they are.

    They are listed as they are reached, so that a large tree takes no memory. Passed over and
    counted: what is hidden, run folders, links to folders, and files of other endings than
    SUFFIXES, by their ending.
    """
    try:
        entries = visible(folder, passed_over)
    except OSError as error:
        yield BadPicture(folder, f"cannot be read ({error.strerror})")
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from pictures_below(entry.path, passed_over)
        elif entry.is_dir():  # a link, which may lead back to where it lies
            passed_over["links to folders"] += 1
        elif is_picture(entry.name, passed_over):
            yield entry.path


def holds_pictures(folder: Path) -> bool:
    """Whether there is a picture anywhere below a folder."""
    return next(pictures_below(str(folder), PassedOver()), None) is not None


def is_picture(name: str, passed_over: PassedOver) -> bool:
    """Whether a file is called as pictures are; others are counted by their ending."""
    suffix = Path(name).suffix.lower()
    if suffix in SUFFIXES:
        return True
    passed_over[suffix or "without an ending"] += 1
    return False


def visible(folder: Path | str, passed_over: PassedOver) -> "list[os.DirEntry[str]]":
    """What a folder holds, by name, without what is hidden and without run folders.

    Raises:
        OSError: it cannot be read.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.name.startswith(".") or entry.name in SHADOWS:
                passed_over["hidden"] += 1
            elif entry.is_dir() and is_run_folder(Path(entry.path)):
                passed_over["run folders"] += 1
            else:
                found.append(entry)
    return found


def is_run_folder(folder: Path) -> bool:
    """Whether a run, a sweep or a comparison lies there, or has begun to."""
    if any(all((folder / name).is_file() for name in signs) for signs in SIGNS):
        return True
    return (folder / LOCK).is_file() and [p.name for p in folder.iterdir()] == [LOCK]


def read_picture(path: str, shape: tuple[int, ...], limits: Limits) -> Array | BadPicture:
    """One picture as a network of images takes it, uint8 (C, H, W) = ``shape``.

    A picture of another size is scaled to cover height and width, bilinearly, and its middle cut
    out, as ``--image-size`` does in training; see ``decode`` for the rest.

    Args:
        path: the file.
        shape: (C, H, W).
        limits: what is too large.
    """
    channels, height, width = shape
    try:
        data = read_file(path, limits.max_bytes)
        size = (height, width)
        return decode(data, size, channels=channels, max_pixels=limits.max_pixels).pixels
    except BadImageError as error:
        return BadPicture(path, str(error))
    except (OSError, ValueError) as error:  # ValueError: a name that holds a null byte
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return BadPicture(path, f"cannot be read ({reason})")


def read_file(path: str, max_bytes: int = MAX_BYTES) -> bytes:
    """A file's bytes.

    Raises:
        BadImageError: it is no regular file, or larger than that.
        OSError: it cannot be read.
    """
    place = Path(path)
    told = place.stat()
    if not stat.S_ISREG(told.st_mode):  # to open a pipe or a device might never end
        raise BadImageError("is no regular file")
    if told.st_size > max_bytes:
        raise BadImageError(f"is too large, {told.st_size:,} bytes")
    with place.open("rb") as file:
        data = file.read(told.st_size + 1)
        if len(data) > told.st_size:  # it has grown meanwhile
            data += file.read(max_bytes + 1 - len(data))
    if len(data) > max_bytes:
        raise BadImageError(f"is too large, more than {max_bytes:,} bytes")
    return data

"""Pictures on disk: which there are, in order, and their pixels as a network takes them."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from noprop_dist.data.folders import IMAGE_SUFFIXES
from noprop_dist.data.images import BadImageError, decode
from noprop_dist.data.shards import Array

# Those of IMAGE_SUFFIXES. Pillow knows more, and hands some of them to other programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


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

    max_bytes: int
    max_pixels: int


def find_pictures(paths: Iterable[str]) -> Iterator[str | BadPicture]:
    """Files as given, and in each folder all pictures below it, by name; links to folders are not
    followed, and names that start with a dot are passed over.

    Folders are read as they are reached, so that a large tree takes no memory.
    """  # noqa: D205
    for path in paths:
        if not Path(path).is_dir():
            yield path
            continue
        found = False
        for item in _below(path):
            found = True
            yield item
        if not found:
            yield BadPicture(path, "holds no pictures")


def _below(folder: str) -> Iterator[str | BadPicture]:
    try:
        with os.scandir(folder) as entries:
            there = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield BadPicture(folder, f"cannot be read ({error.strerror})")
        return
    for entry in there:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path)
        elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
            yield entry.path


def read_picture(path: str, shape: tuple[int, ...], limits: Limits) -> Array | BadPicture:
    """One picture as a network of images takes it, uint8 (C, H, W) = ``shape``.

    It is turned as its EXIF orientation says. Colour becomes grey by its luma (ITU-R 601-2) and
    grey becomes colour by repeating it, an alpha channel is dropped, and of several frames the
    first is taken. A picture of another size is scaled to cover height and width, bilinearly, and
    its middle cut out, as ``--image-size`` does in training.

    Args:
        path: the file.
        shape: (C, H, W).
        limits: what is too large.
    """
    channels, height, width = shape
    try:
        data = _read(Path(path), limits.max_bytes)
        size = (height, width)
        return decode(data, size, channels=channels, max_pixels=limits.max_pixels, formats=FORMATS)
    except BadImageError as error:
        return BadPicture(path, str(error))
    except (OSError, ValueError) as error:  # ValueError: a name that holds a null byte
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return BadPicture(path, f"cannot be read ({reason})")


def _read(path: Path, max_bytes: int) -> bytes:
    if path.exists() and not path.is_file():  # a pipe or a device might never end
        raise BadImageError("is no regular file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise BadImageError(f"is too large, {size:,} bytes")
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:  # it has grown meanwhile
        raise BadImageError(f"is too large, more than {max_bytes:,} bytes")
    return data

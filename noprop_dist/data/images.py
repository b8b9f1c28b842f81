"""Decoding encoded images into shards, in threads, with every bad one named."""

import io
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from os import cpu_count

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from noprop_dist.data.shards import SHARD_ROWS, Array, Rows, Split
from noprop_dist.errors import UserError

MAX_PIXELS = 64 * 2**20
GREY_MODES = ("1", "L", "LA")
UPRIGHT = {  # what shows an image as it was seen, by its EXIF orientation; 1 is upright already
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_THREADS = 8  # more would only wait for the interpreter lock

Encoded = tuple[str, Callable[[], bytes], int]  # what to call it, how to read it, its label


class BadImageError(Exception):
    """An image that cannot be used; the message says why."""


def decode(
    data: bytes,
    size: int | tuple[int, int] | None,
    *,
    channels: int | None = None,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
) -> Array:
    """One image as uint8 (C, H, W), C = 1 for grey and 3 for anything else.

    It is turned and mirrored as its EXIF orientation says, as viewers do.

    Args:
        data: the encoded file.
        size: resize to cover so many pixels in height and width (one number: both) and cut the
            middle, or None.
        channels: C, where it is not up to the image: colour becomes grey by its luma, grey becomes
            colour by repeating it.
        max_pixels: in the header, which is looked at before anything is decoded.
        formats: Pillow's names of those to try, or None for all.

    Raises:
        BadImageError: it does not decode, has more pixels than that, or has pixels that are not
            integers of at most 16 bits.
    """
    if not data:
        raise BadImageError("is empty")
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise BadImageError(f"is absurdly large, {width}x{height} pixels")
            plain = _upright(image, _plain(image, channels))
    except BadImageError:
        raise
    except Image.DecompressionBombError as error:
        raise BadImageError("is absurdly large") from error
    except UnidentifiedImageError as error:
        raise BadImageError("does not decode (no known image format)") from error
    except Exception as error:  # decoders fail in many ways on bad bytes: struct.error, zlib.error
        raise BadImageError(f"does not decode ({error or type(error).__name__})") from error
    high, wide = size if isinstance(size, tuple) else (size, size)
    if high is not None and wide is not None and plain.size != (wide, high):
        plain = ImageOps.fit(plain, (wide, high), Image.Resampling.BILINEAR)
    pixels = np.asarray(plain)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _plain(image: Image.Image, channels: int | None) -> Image.Image:
    """The image with 8 bits a channel, mode L or RGB."""
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise BadImageError("has 32 bits a pixel; images need 8 or 16 bits a channel")
    grey = image.mode in GREY_MODES if channels is None else channels == 1
    return image.convert("L" if grey else "RGB")


def _upright(image: Image.Image, plain: Image.Image) -> Image.Image:
    """``plain`` turned as ``image``, which has been decoded, says.

    Not by ImageOps.exif_transpose, which writes all of EXIF anew and so fails on what is odd in it.
    """
    orientation = None
    with suppress(Exception):  # EXIF that cannot be read turns nothing, and the pixels are good
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    how = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return plain if how is None else plain.transpose(how)


def resize_batch(x: Array, size: int) -> Array:
    """Uint8 (N, C, H, W) -> (N, C, size, size), as ``decode`` resizes."""
    if x.shape[2:] == (size, size):
        return x
    out = np.empty((len(x), x.shape[1], size, size), np.uint8)
    for i, image in enumerate(x):
        grey = len(image) == 1
        plain = Image.fromarray(
            image[0] if grey else np.ascontiguousarray(image.transpose(1, 2, 0))
        )
        fitted = np.asarray(ImageOps.fit(plain, (size, size), Image.Resampling.BILINEAR))
        out[i] = fitted if grey else fitted.transpose(2, 0, 1)
    return out


@dataclass
class _Shards:
    """Shards under construction; grey becomes colour when the first colour image comes."""

    xs: list[Array] = field(default_factory=list)
    ys: list[Rows] = field(default_factory=list)
    open_xs: list[Array] = field(default_factory=list)
    open_ys: list[int] = field(default_factory=list)
    first: tuple[str, tuple[int, ...]] | None = None

    def add(self, name: str, image: Array, label: int) -> None:
        if self.first is None:
            self.first = name, image.shape[1:]
        if image.shape[1:] != self.first[1]:
            a, b = ("x".join(map(str, shape[::-1])) for shape in (self.first[1], image.shape[1:]))
            raise UserError(
                f"images differ in size ({self.first[0]} is {a}, {name} is {b}): give --image-size."
            )
        self.open_xs.append(image)
        self.open_ys.append(label)
        if len(self.open_ys) == SHARD_ROWS:
            self.close()

    def close(self) -> None:
        if self.open_ys:
            channels = max(len(image) for image in self.open_xs)
            self.xs.append(np.stack([_with_channels(image, channels) for image in self.open_xs]))
            self.ys.append(np.array(self.open_ys, dtype=np.int64))
            self.open_xs, self.open_ys = [], []

    def split(self, channels: int) -> Split:
        xs = tuple(np.ascontiguousarray(_with_channels(x, channels)) for x in self.xs)
        return Split(xs, tuple(self.ys), xs[0].shape[1:] if xs else (channels, 1, 1))


def _with_channels(image: Array, channels: int) -> Array:
    """(..., C, H, W) with C = channels, grey repeated."""
    axis = image.ndim - 3
    have = image.shape[axis]
    return image if have == channels else np.repeat(image, channels, axis=axis)


def decode_splits(
    sources: Iterable[Iterable[Encoded]], size: int | None, skip_bad: bool
) -> tuple[list[Split], int]:
    """Decode several splits to the same number of channels.

    Args:
        sources: per split, the encoded images in row order.
        size: see ``decode``; without it all images of all splits must have one size.
        skip_bad: leave bad images out.

    Returns:
        The splits, and how many images were left out.

    Raises:
        UserError: a bad image, named; or sizes that differ.
    """
    built, skipped = [], 0
    threads = min(cpu_count() or 1, MAX_THREADS)
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        # Set once, here: warning filters belong to the process, not to a thread.
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        first = None
        for source in sources:
            shards = _Shards(first=first)
            for (name, _, label), image in _decode_all(pool, source, size):
                if isinstance(image, BadImageError):
                    if not skip_bad:
                        raise UserError(
                            f"{name} {image}: mend or remove it, or give --skip-bad-images."
                        ) from image
                    skipped += 1
                else:
                    shards.add(name, image, label)
            shards.close()
            first = shards.first
            built.append(shards)
    channels = max((x.shape[1] for s in built for x in s.xs), default=1)
    return [s.split(channels) for s in built], skipped


def _decode_all(
    pool: ThreadPoolExecutor, source: Iterable[Encoded], size: int | None
) -> Iterable[tuple[Encoded, Array | BadImageError]]:
    """Decode in order, a bounded number of images ahead."""

    def work(chunk: list[Encoded]) -> list[tuple[Encoded, Array | BadImageError]]:
        return [(item, _try_decode(item[1], size)) for item in chunk]

    waiting = []
    for chunk in chunks(source, 256):
        waiting.append(pool.submit(work, chunk))
        if len(waiting) > 8:
            yield from waiting.pop(0).result()
    for future in waiting:
        yield from future.result()


def _try_decode(read: Callable[[], bytes], size: int | None) -> Array | BadImageError:
    try:
        return decode(read(), size)
    except BadImageError as error:
        return error
    except OSError as error:
        return BadImageError(f"cannot be read ({error.strerror})")


def chunks(items: Iterable[Encoded], size: int) -> Iterable[list[Encoded]]:
    """Lists of at most ``size`` items, in order."""
    chunk: list[Encoded] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk

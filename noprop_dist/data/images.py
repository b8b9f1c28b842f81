"""Encoded images, decoded one by one, and what is wrong with those that are not."""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from noprop_dist.data.account import Reading
from noprop_dist.data.shards import Array

# Pillow knows more, and hands some of them to other programs: strangers' files name the format.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 64 * 2**20
GREY_MODES = ("1", "L", "LA")
OURS = "noprop-dist"  # what a PNG that we have drawn names as its software
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


class OwnPictureError(BadImageError):
    """A picture that this program has drawn is nobody's data."""


class Decoded(NamedTuple):
    """An image, and what was done to it that changes its meaning."""

    pixels: Array
    remarks: tuple[str, ...]


def decode(
    data: bytes,
    size: int | tuple[int, int] | None,
    *,
    channels: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Decoded:
    """One image as uint8 (C, H, W).

    C is 1 where it is grey in every pixel, in whatever format, and 3 for anything else. It is
    turned and mirrored as its EXIF orientation says, as viewers do; what is transparent is laid on
    white; of several frames the first is taken.

    Args:
        data: the encoded file, in one of FORMATS.
        size: resize to cover so many pixels in height and width (one number: both) and cut the
            middle, or None.
        channels: C, where it is not up to the image: colour becomes grey by its luma (ITU-R 601-2),
            grey becomes colour by repeating it.
        max_pixels: in the header, which is looked at before anything is decoded.

    Raises:
        OwnPictureError: it is one of this program's own pictures.
        BadImageError: it does not decode, has more pixels than that, or has pixels that are not
            integers of at most 16 bits.
    """
    if not data:
        raise BadImageError("is empty")
    remarks: list[str] = []
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise BadImageError(f"is absurdly large, {width}x{height} pixels")
            if image.info.get("Software") == OURS:
                raise OwnPictureError("is a picture that noprop has drawn")
            # The second frame of a photo in MPO is a camera's own: depth, or another exposure.
            if getattr(image, "is_animated", False) and image.format != "MPO":
                remarks.append("first of several frames")
            plain = _upright(image, _plain(image, channels, remarks))
    except BadImageError:
        raise
    except Image.DecompressionBombError as error:
        raise BadImageError("is absurdly large") from error
    except UnidentifiedImageError as error:
        raise BadImageError(
            f"does not decode (no known image format, none of {', '.join(FORMATS)})"
        ) from error
    except Exception as error:  # decoders fail in many ways on bad bytes: struct.error, zlib.error
        raise BadImageError(f"does not decode ({error or type(error).__name__})") from error
    high, wide = size if isinstance(size, tuple) else (size, size)
    if high is not None and wide is not None and plain.size != (wide, high):
        plain = ImageOps.fit(plain, (wide, high), Image.Resampling.BILINEAR)
    planes = [plain.tobytes("raw", band) for band in plain.mode]  # faster than to transpose them
    if channels is None and planes.count(planes[0]) == len(planes):
        del planes[1:]
    pixels = np.frombuffer(b"".join(planes), np.uint8).reshape(-1, plain.height, plain.width)
    return Decoded(pixels, tuple(remarks))


def _plain(image: Image.Image, channels: int | None, remarks: list[str]) -> Image.Image:
    """The image with 8 bits a channel, mode L or RGB."""
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip at 255
        remarks.append("of 16 bits a pixel, cut to the upper 8")
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise BadImageError("has 32 bits a pixel; images need 8 or 16 bits a channel")
    grey = image.mode in GREY_MODES if channels is None else channels == 1
    if image.has_transparency_data:
        # Dropping it would show what its maker never saw, often one colour everywhere.
        layers = image.convert("RGBA")
        if layers.getchannel("A").getextrema() != (255, 255):
            remarks.append("transparent, laid on white")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), layers)
    wanted = "L" if grey else "RGB"
    if image.mode != wanted:
        return image.convert(wanted)
    image.load()  # while its file is open
    return image


def _upright(image: Image.Image, plain: Image.Image) -> Image.Image:
    """``plain`` turned as ``image``, which has been decoded, says.

    Not by ImageOps.exif_transpose, which writes all of EXIF anew and so fails on what is odd in it.
    """
    orientation = None
    with suppress(Exception):  # EXIF that cannot be read turns nothing, and the pixels are good
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    how = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return plain if how is None else plain.transpose(how)


def fit_batch(x: Array, reading: Reading) -> Array:
    """Uint8 (N, C, H, W) in the size and the channels asked for, as ``decode`` makes them."""
    side = reading.image_size
    high, wide = (side, side) if side else x.shape[2:]
    channels = reading.channels or x.shape[1]
    if x.shape[1:] == (channels, high, wide):
        return x
    out = np.empty((len(x), channels, high, wide), np.uint8)
    for i, image in enumerate(x):
        plain = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0).copy())
        if channels != len(image):
            plain = plain.convert("L" if channels == 1 else "RGB")
        if plain.size != (wide, high):
            plain = ImageOps.fit(plain, (wide, high), Image.Resampling.BILINEAR)
        pixels = np.asarray(plain)
        out[i] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return out


@contextmanager
def pillow_silenced() -> Iterator[None]:
    """Pillow's warnings kept quiet: what matters of them is an error here.

    Filters belong to the process, not to a thread, so they are set once, around all of them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def peek(data: bytes) -> tuple[int, int]:
    """Height and width that the header of an image tells; decodes nothing.

    Raises:
        BadImageError: it tells none.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.height, image.width
    except Exception as error:  # as in ``decode``
        raise BadImageError(f"does not decode ({error or type(error).__name__})") from error

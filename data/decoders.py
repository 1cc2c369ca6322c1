"""The only door to Pillow's decoders: PNG, JPEG and WebP by their first bytes, whatever a file is called.

Pillow can open many formats, and starts a program for some (PostScript). Here a file that is none of the three is
refused before Pillow sees it, and so are images with more pixels than a limit, and JPEG files with thousands of scans,
which would take hours.
"""

import contextlib
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

# What Pillow raises for files that are damaged, and this module for those that are refused.
ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError,
    AssertionError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_PIXELS = 2**26  # 8192x8192; decoding takes up to 12 bytes for each, and twice as many of WebP and of 16 bits
_MAX_SCANS = 100  # of a JPEG: encoders write about ten, and each is a pass over the whole image
_START_OF_SCAN = b"\xff\xda"
_STRIP = 2**20  # pixels that are converted at once
_ORIENTATION = 0x0112  # the EXIF tag of a photograph's orientation: 1 is upright, 5 to 8 are rotated by 90 degrees
_SHORT = 3  # the EXIF type of a number of 16 bits


class _Decoder(NamedTuple):
    """Whether the first bytes of a file are of a format, and what opens it."""

    accepts: Callable[[bytes], bool]
    open: Callable[[BinaryIO], ImageFile]


DECODERS = {
    "PNG": _Decoder(lambda start: start.startswith(b"\x89PNG\r\n\x1a\n"), PngImageFile),
    "JPEG": _Decoder(lambda start: start.startswith(b"\xff\xd8\xff"), JpegImageFile),
    "WebP": _Decoder(lambda start: start.startswith(b"RIFF") and start[8:12] == b"WEBP", WebPImageFile),
}


def opened(raw: BinaryIO, max_pixels: int = MAX_PIXELS) -> ImageFile:
    """An image whose header is read, but no pixels. Errors: those of `ERRORS`."""
    raw.seek(0)
    start = raw.read(32)
    decoder = next((decoder for decoder in DECODERS.values() if decoder.accepts(start)), None)
    if decoder is None:
        raise UnidentifiedImageError(f"it is no {', '.join(list(DECODERS)[:-1])} or {list(DECODERS)[-1]} image")
    raw.seek(0)
    file = decoder.open(raw)
    width, height = file.size
    if width * height * _weight(decoder, start) > max_pixels:
        twice = ", where those of WebP and of 16 bits count twice" if _weight(decoder, start) > 1 else ""
        raise ValueError(f"it has {width}x{height} pixels, more than config.data.max_pixels = {max_pixels}{twice}")
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels  # or Pillow would refuse to crop what is asked for here
    return file


def _weight(decoder: _Decoder, start: bytes) -> int:
    """How many pixels one counts as, by the memory that it takes."""
    return 2 if decoder is DECODERS["WebP"] or (decoder is DECODERS["PNG"] and start[24:25] == b"\x10") else 1


def check_scans(raw: BinaryIO) -> None:
    """Reads a whole file, before its pixels are decoded. Errors: ValueError for a JPEG that would take hours."""
    raw.seek(0)
    if DECODERS["JPEG"].accepts(raw.read(16)) and (scans := raw.read().count(_START_OF_SCAN)) > _MAX_SCANS:
        raise ValueError(f"it is a JPEG of {scans} scans, more than {_MAX_SCANS}")


def orientation(file: ImageFile) -> int:
    """How a photograph is stored, 1 to 8: the tag of its EXIF block, or 1. Nothing else of that block is read."""
    data = file.info.get("exif", b"").removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return 1
    with contextlib.suppress(struct.error):  # it is cut off
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for entry in range(count):
            tag, kind, size, value = struct.unpack_from(f"{order}HHIH", data, start + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return value if (kind, size) == (_SHORT, 1) and 1 <= value <= 8 else 1
    return 1


def strips(height: int, width: int) -> Iterator[slice]:
    """The rows of an image in parts, so that what is made of a part takes little memory."""
    rows = max(1, _STRIP // max(1, width))
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def part(image: Image.Image, rows: slice) -> Image.Image:
    """Some rows of an image."""
    return image.crop((0, rows.start, image.width, rows.stop))


def pixels_of(image: Image.Image) -> np.ndarray:
    """The pixels [H, W, C], or [H, W] of an image with one channel, in half the memory of Pillow's conversion."""
    first = np.asarray(part(image, slice(0, 1)))
    found = np.empty((image.height, *first.shape[1:]), first.dtype)
    for rows in strips(image.height, image.width):
        found[rows] = np.asarray(part(image, rows))
    return found

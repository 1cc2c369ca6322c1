"""PNG images of 16 bits: Pillow decodes them, but of color and transparency it returns the upper bytes alone.

A decoder's raw mode says how it unpacks a row. "RGB;16B" keeps the first byte of each big-endian value, which is the
upper one, and "RGB;16L" the second; "LA;16B" has the same four bytes as "RGBA".
"""

from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from data.decoders import opened, pixels_of

_GRAY, _GRAY_ALPHA = "I;16B", "LA;16B"
_COLOR = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}  # the raw modes of the upper and of the lower bytes


def is_deep(file: Image.Image) -> bool:
    """Whether an image that has been opened but not decoded has 16 bits per channel."""
    return file.mode.startswith("I") or _raw_mode(file) in (_GRAY, _GRAY_ALPHA, *_COLOR)


def is_gray(file: Image.Image) -> bool:
    """Whether an image that has been opened but not decoded has no color."""
    return file.mode in ("1", "L", "LA") or file.mode.startswith("I") or _raw_mode(file) == _GRAY_ALPHA


def read(raw: BinaryIO, max_pixels: int) -> np.ndarray:
    """The values [H, W, C] uint16 of a deep image, as stored: gray or color, the last of C = 2 or 4 is the opacity.

    Errors: those of `data.decoders`.
    """
    mode = _raw_mode(opened(raw, max_pixels))
    if mode == _GRAY_ALPHA:
        pairs = _unpacked(raw, max_pixels, "RGBA")  # the upper and the lower byte of each value
        return pairs[..., ::2].astype(np.uint16) << 8 | pairs[..., 1::2]
    if mode in _COLOR:
        found = _unpacked(raw, max_pixels).astype(np.uint16)
        found <<= 8
        found |= _unpacked(raw, max_pixels, _COLOR[mode])
        return found
    return _unpacked(raw, max_pixels).astype(np.uint16)[..., None]


def _unpacked(raw: BinaryIO, max_pixels: int, raw_mode: str | None = None) -> np.ndarray:
    """The pixels as Pillow unpacks them, by another raw mode if one is given."""
    file: Any = opened(raw, max_pixels)
    if raw_mode:
        file.tile = [tile._replace(args=raw_mode) for tile in file.tile]
    return pixels_of(file)


def _raw_mode(file: Any) -> str:
    """The raw mode of an image that has been opened but not decoded; empty if it has none."""
    args = file.tile[0].args if getattr(file, "tile", None) else ""
    return args if isinstance(args, str) else ""

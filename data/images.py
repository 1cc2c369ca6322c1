"""One picture file: what its header says, and its pixels, cropped and resized on the way."""

from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data import transform

ERRORS = (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError, EOFError)
FORMATS = ("JPEG", "PNG", "WEBP")
_ORIENTATION = 0x0112  # the EXIF tag that says which way up a photograph is: 1 as it is, 5 to 8 lying on its side


class Header(NamedTuple):
    """Pixels along each axis, 1 or 3 channels, and the type of their values."""

    height: int
    width: int
    channels: int
    dtype: str


class Form(NamedTuple):
    """What all pictures are brought to; `resize` is None, "crop" or "stretch"."""

    height: int
    width: int
    channels: int
    dtype: str
    resize: str | None


def header(raw: BinaryIO) -> Header:
    """What the header of a file says, without its pixels. Errors: those of `ERRORS`, with a reason."""
    with Image.open(raw, formats=FORMATS) as file:
        depth = str(file.tile[0][3]) if file.tile else ""
        if file.mode not in ("I;16", "I;16B", "I", "I;16L") and "16" in depth:
            raise ValueError("it has 16 bits for each of several channels, which are given as .npy or .npz")
        width, height = file.size if _orientation(file) < 5 else file.size[::-1]
        if file.mode.startswith("I"):
            return Header(height, width, 1, "uint16")
        return Header(height, width, 1 if file.mode in ("1", "L", "LA") else 3, "uint8")


def decode(raw: BinaryIO, form: Form) -> np.ndarray:
    """The pixels [height, width, channels] of a file as `form` wants them. Errors: those of `ERRORS`.

    Alpha is dropped, palettes are looked up, photographs are turned the right way up. "crop" keeps the largest central
    part of the wanted proportions, "stretch" all; both resize with an antialiased bicubic filter.
    """
    with Image.open(raw, formats=FORMATS) as file:
        picture = file if _orientation(file) == 1 else ImageOps.exif_transpose(file)
        wanted = {"uint16": picture.mode, "uint8": "L" if form.channels == 1 else "RGB"}[form.dtype]
        if picture.mode != wanted:
            picture = picture.convert(wanted)
        if form.resize is None or picture.size == (form.width, form.height):
            pixels = np.asarray(picture)
        elif form.dtype == "uint16":
            pixels = transform.fit(np.asarray(picture)[..., None], form.height, form.width, form.resize)
        else:
            box = transform.central_box(picture.height, picture.width, form.height, form.width, form.resize)
            pixels = np.asarray(picture.crop(box).resize((form.width, form.height), Image.Resampling.BICUBIC))
    if pixels.shape[:2] != form[:2]:
        raise ValueError(f"it is {pixels.shape[0]}x{pixels.shape[1]}, not {form.height}x{form.width}")
    return pixels.astype(form.dtype, copy=False).reshape(form.height, form.width, form.channels)


def reason(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].replace("<_io.BytesIO object", "<file")


def _orientation(file: Image.Image) -> int:
    return file.getexif().get(_ORIENTATION, 1) if "exif" in file.info else 1

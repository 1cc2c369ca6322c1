"""Images: files of them and what their headers say, crops, resizes and flips.

Shapes are [H, W, C] for one image and [n, H, W, C] for a batch. The crops and resizes of stock data sets are those of
the published data pipeline. It kept CelebA and LSUN at 128 pixels as floats after resizing; here every image is rounded
to 8 bits, as the images of the other data sets always were.
"""

import pathlib
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageColor
from PIL.ImageFile import ImageFile

from data import sixteen_bits
from data.decoders import ERRORS, MAX_PIXELS, SUFFIXES, check_scans, opened, orientation, part, pixels_of, strips

__all__ = ["ERRORS", "MAX_PIXELS", "SUFFIXES"]

RESIZES = ("crop", "stretch")
BACKGROUND = "white"
ARRAY_SUFFIXES = (".npy", ".npz")
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # from how a photograph is stored to upright
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
_TRANSPOSES = dict(enumerate((  # the same for Pillow's images
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
), 2))  # fmt: skip
_TO_UINT8 = np.round(np.arange(2**16) / 257).astype(np.uint8)


class Header(NamedTuple):
    """Pixels along each axis, 1 or 3 channels, and the dtype of their values."""

    height: int
    width: int
    channels: int
    dtype: str


class Format(NamedTuple):
    """The size, channels and dtype that all images of a data set are decoded to.

    resize: None, "crop" or "stretch". background: the color behind transparent pixels.
    """

    height: int
    width: int
    channels: int
    dtype: str
    resize: str | None
    background: str = BACKGROUND


# Decoding ---------------------------------------------------------------------------------------------------------


def read_header(raw: BinaryIO, max_pixels: int = MAX_PIXELS) -> Header:
    """What the header of an image file says, without reading pixels. Errors: those of `ERRORS`.

    Gray images of 16 bits keep them. Color images of 16 bits are reduced to 8, unless `decode` is asked for 16.
    """
    with opened(raw, max_pixels) as file:
        width, height = file.size if orientation(file) < 5 else file.size[::-1]
        is_gray = sixteen_bits.is_gray(file)
        dtype = "uint16" if is_gray and sixteen_bits.is_deep(file) else "uint8"
        return Header(height, width, 1 if is_gray else 3, dtype)


def decode(raw: BinaryIO, target: Format, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The pixels [H, W, C] of an image file in the `target` format. Errors: those of `ERRORS`.

    Palettes are resolved, photographs are turned upright, transparent pixels show the background. "crop" keeps the
    largest central part with the target's proportions, "stretch" the whole image; both resize with an antialiased
    bicubic filter. Values of 8 bits and of 16 are mapped to each other, white to white.
    """
    check_scans(raw)
    pixels = _decoded(raw, target, max_pixels)
    if pixels.shape[:2] != target[:2]:
        raise ValueError(f"it is {pixels.shape[0]}x{pixels.shape[1]}, not {target.height}x{target.width}")
    if pixels.dtype != target.dtype:
        pixels = np.multiply(pixels, 257, dtype=np.uint16) if target.dtype == "uint16" else _TO_UINT8[pixels]
    return pixels.reshape(target.height, target.width, target.channels)


def _decoded(raw: BinaryIO, target: Format, max_pixels: int) -> np.ndarray:
    """The pixels in the target's size, if it resizes, and with its channels, but perhaps of another dtype."""
    with opened(raw, max_pixels) as file:
        if sixteen_bits.is_deep(file) and (target.dtype == "uint16" or sixteen_bits.is_gray(file)):
            return _resized(_deep(sixteen_bits.read(raw, max_pixels), orientation(file), target), target)
        upright = _opaque(_upright(file), "L" if target.channels == 1 else "RGB", target.background)
        if target.resize is not None and upright.size != (target.width, target.height):
            box = central_box(upright.height, upright.width, target.height, target.width, target.resize)
            upright = upright.crop(box).resize((target.width, target.height), Image.Resampling.BICUBIC)
        return pixels_of(upright)


def decode_color(raw: BinaryIO, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The pixels [H, W, 3] uint8 of an image file of any size. Errors: those of `ERRORS`."""
    header = read_header(raw, max_pixels)
    return decode(raw, Format(header.height, header.width, 3, "uint8", None), max_pixels)


def is_image(path: pathlib.PurePath) -> bool:
    """Whether a path, relative to its root, is that of an image file that is not hidden."""
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _opaque(image: Image.Image, mode: str, background: str) -> Image.Image:
    """An image in the mode L or RGB, transparent pixels over the background."""
    if not image.has_transparency_data:
        return image if image.mode == mode else image.convert(mode)
    found = Image.new(mode, image.size)
    for rows in strips(image.height, image.width):
        above = part(image, rows).convert("RGBA")
        shown = Image.alpha_composite(Image.new("RGBA", above.size, background), above)
        found.paste(shown.convert(mode), (0, rows.start))
    return found


def _deep(stored: np.ndarray, orientation: int, target: Format) -> np.ndarray:
    """The pixels [H, W, C] uint16 of an image of 16 bits, upright and opaque, in its own size."""
    values = _TURNS.get(orientation, np.asarray)(stored)
    color = 3 if values.shape[-1] > 2 else 1
    found = np.empty((*values.shape[:2], 1 if target.channels == 1 else color), np.uint16)
    background = 257 * np.array(ImageColor.getrgb(target.background))[:color]
    for rows in strips(*values.shape[:2]):
        shown = values[rows]
        if shown.shape[-1] in (2, 4):
            opacity = shown[..., -1:] / np.iinfo(np.uint16).max
            shown = np.round(opacity * shown[..., :-1] + (1 - opacity) * background).astype(np.uint16)
        if shown.shape[-1] > found.shape[-1]:
            shown = np.round(shown @ np.array(_LUMA)).astype(np.uint16)[..., None]
        found[rows] = shown
    return np.repeat(found, target.channels // found.shape[-1], axis=-1) if color < target.channels else found


def _resized(pixels: np.ndarray, target: Format) -> np.ndarray:
    return pixels if target.resize is None else resize_by(target.resize, pixels, target.height, target.width)


def _upright(file: ImageFile) -> Image.Image:
    turn = _TRANSPOSES.get(orientation(file))
    return file if turn is None else file.transpose(turn)


# Flips, crops and resizes -----------------------------------------------------------------------------------------


def flip(x: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Mirrors left and right the examples of `x` [n, H, W, ...] whose entry in `bits` [n] is not zero."""
    planes = x.reshape(*x.shape[:3], -1)
    mirrored = planes.copy()
    for row in np.flatnonzero(bits):
        for channel in range(planes.shape[3]):  # NumPy then copies lines instead of pixels: eight times as fast
            mirrored[row, :, :, channel] = planes[row, :, ::-1, channel]
    return mirrored.reshape(x.shape)


def central_crop(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The central `height` x `width` pixels of `image` [H, W, C]; an odd remainder leaves one more at the far side.

    Errors: ValueError if the image is smaller.
    """
    if image.shape[0] < height or image.shape[1] < width:
        raise ValueError(
            f"an image of {image.shape[0]}x{image.shape[1]} pixels has no central crop of {height}x{width}; "
            "resize it first or choose a smaller crop"
        )
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def resize(image: np.ndarray, height: int, width: int, method: str = "bilinear") -> np.ndarray:
    """`image` [H, W, C] uint8 or uint16 resized to `height` x `width`, antialiased, by "bilinear" or "bicubic"."""
    if image.shape[:2] == (height, width):
        return image
    if image.dtype != np.uint8:  # Pillow filters 16 bits only as floats
        planes = (np.ascontiguousarray(image[..., c], np.float32) for c in range(image.shape[2]))
        floats = [np.asarray(Image.fromarray(plane).resize((width, height), FILTERS[method])) for plane in planes]
        limits = np.iinfo(image.dtype)
        return np.clip(np.round(np.stack(floats, axis=2)), limits.min, limits.max).astype(image.dtype)
    if image.shape[2] == 3:
        return np.asarray(Image.fromarray(image).resize((width, height), FILTERS[method]))
    resized = [Image.fromarray(plane).resize((width, height), FILTERS[method]) for plane in np.moveaxis(image, 2, 0)]
    return np.stack([np.asarray(plane) for plane in resized], axis=2)


def resize_square(image: np.ndarray, size: int) -> np.ndarray:
    """The whole image resized to `size` x `size`, whatever its proportions (CIFAR-10 and SVHN)."""
    return resize(image, size, size)


def crop_face(image: np.ndarray, size: int) -> np.ndarray:
    """The central 140x140 pixels resized to `size` x `size` (CelebA)."""
    return resize(central_crop(image, 140, 140), size, size)


def crop_square(image: np.ndarray, size: int) -> np.ndarray:
    """The largest central square resized to `size` x `size`, bicubic (LSUN at 256 pixels, folders of images)."""
    side = min(image.shape[:2])
    return resize(central_crop(image, side, side), size, size, "bicubic")


def crop_scene(image: np.ndarray, size: int) -> np.ndarray:
    """LSUN: at 128 pixels the shorter side is resized and the center kept; at other sizes `crop_square`."""
    if size != 128:
        return crop_square(image, size)
    ratio = size / min(image.shape[:2])
    height, width = (round(side * ratio) for side in image.shape[:2])
    return central_crop(resize(image, height, width), size, size)


def central_box(height: int, width: int, target_height: int, target_width: int, rule: str) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the part to resize: the whole image for "stretch", the center for "crop".

    The center is the largest central part with the target's proportions, to the nearest pixel.
    """
    if rule == "stretch":
        return 0, 0, width, height
    ratio = min(height / target_height, width / target_width)
    kept_height, kept_width = round(ratio * target_height), round(ratio * target_width)
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return left, top, left + kept_width, top + kept_height


def resize_by(rule: str, image: np.ndarray, height: int, width: int) -> np.ndarray:
    """`image` [H, W, C] resized to `height` x `width`, bicubic, by the rule "crop" or "stretch"; see `central_box`."""
    left, top, right, bottom = central_box(image.shape[0], image.shape[1], height, width, rule)
    return resize(image[top:bottom, left:right], height, width, "bicubic")

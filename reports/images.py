"""Many images on one sheet."""

import math
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from core.files import write_atomically


def grid(images: np.ndarray, columns: int | None = None, padding: int = 1, scale: int = 1) -> np.ndarray:
    """Lays out `images` [N, H, W, C] uint8, grey or RGB, row by row on black.

    Returns one image [rows (s H + p) + p, columns (s W + p) + p, C]. `columns` is that of the least square which holds
    all images unless given; `padding` p in pixels separates and surrounds the images; `scale` s repeats each pixel s
    times along both axes. Raises ValueError for anything else than such images.
    """
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(
            f"a grid of {images.dtype} images of shape {images.shape} was asked for; give uint8 [N, H, W, 1 or 3]"
        )
    if (columns is not None and columns < 1) or padding < 0 or scale < 1:
        raise ValueError(
            f"a grid with columns {columns}, padding {padding} and scale {scale} was asked for; use at least 1, 0 and 1"
        )
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = -(-len(images) // columns)
    cells = images.repeat(scale, axis=1).repeat(scale, axis=2)
    _, height, width, channels = cells.shape
    cells = np.pad(cells, ((0, rows * columns - len(cells)), (padding, 0), (padding, 0), (0, 0)))
    sheet = cells.reshape(rows, columns, height + padding, width + padding, channels).swapaxes(1, 2)
    sheet = sheet.reshape(rows * (height + padding), columns * (width + padding), channels)
    return np.pad(sheet, ((0, padding), (0, padding), (0, 0)))


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes `image` [H, W, 1 or 3] uint8 as a PNG file; raises ValueError for another type or shape."""
    if image.ndim != 3 or image.dtype != np.uint8 or image.shape[-1] not in (1, 3):
        raise ValueError(f"a picture of {image.dtype} {image.shape} was given; a PNG file takes uint8 [H, W, 1 or 3]")
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    write_atomically(pathlib.Path(path), lambda file: picture.save(file, format="PNG"))


def write_gif(path: str | os.PathLike, frames: Sequence[np.ndarray], seconds: float = 3.0) -> None:
    """Writes `frames` [H, W, 1 or 3] uint8 as a GIF that takes `seconds` and holds its last frame for as long again."""
    pictures = [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in frames]
    shown = [round(1000 * seconds / len(pictures))] * (len(pictures) - 1) + [round(1000 * seconds)]
    write_atomically(
        pathlib.Path(path),
        lambda file: pictures[0].save(
            file, format="GIF", save_all=True, append_images=pictures[1:], duration=shown, loop=0
        ),
    )

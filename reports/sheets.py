"""Grids of samples of any rank as one uint8 image, and files of uint8 images.

Images are shown as they are, volumes as slices, series as lines, vectors as scatter plots.
"""

import functools
import itertools
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core.files import write_atomically

COLORS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14))  # of channels
PLOT_WIDTH, PLOT_HEIGHT = 160, 80  # of a series, in pixels
MAX_SLICES = 8  # of a volume
MAX_FEATURES, PANEL = 5, 120  # the first features of a vector are plotted against each other; side of a panel in pixels
MARGIN = 4  # pixels between a plot and its frame
SIDE, GAP, GAP_GRAY = 64, 3, 128  # of images: smaller ones are enlarged to about this side; the gaps between them
LINE = 14  # pixels of a line of text


def sample_grid(samples: np.ndarray, num_levels: int, columns: int | None = None) -> np.ndarray:
    """One uint8 image [H, W, 1 or 3] of `samples` [N, ...]: levels below `num_levels`, or values where that is 0.

    By rank: images [N, H, W, C] of 1 or 3 channels, or else their channels side by side in grayscale; volumes
    [N, D, H, W, C] as up to 8 slices along D; series [N, L, C] as lines, C colors, on one scale; vectors [N, D] as the
    first 5 features against each other. `columns`: samples per row, except for vectors; by default the grid is about
    square. Errors: ValueError for another rank, or no samples.
    """
    if samples.ndim - 1 not in GRIDS or not len(samples):
        raise ValueError(f"a grid of samples {samples.shape} was requested; give [N, ...] of rank 1 to 4")
    return GRIDS[samples.ndim - 1](samples, num_levels, columns)


def to_uint8(samples: np.ndarray, num_levels: int) -> np.ndarray:
    """`samples` [N, ...] as uint8: levels in proportion, other values from the smallest to the largest."""
    unit = samples.astype(np.float32) / (num_levels - 1) if num_levels else _unit(samples)
    return np.round(255 * unit).astype(np.uint8)


def grid(
    images: np.ndarray, columns: int | None = None, padding: int = 1, scale: int = 1, background: int = 0
) -> np.ndarray:
    """Lays out `images` [N, H, W, C] uint8, grayscale or RGB, row by row on the gray level `background`.

    Returns one image [rows (s H + p) + p, columns (s W + p) + p, C]. `columns` defaults to that of the smallest square
    that holds all images; `padding` p in pixels separates and surrounds the images; `scale` s repeats each pixel s
    times along both axes. Raises ValueError for any other images.
    """
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(
            f"a grid of {images.dtype} images of shape {images.shape} was requested; give uint8 [N, H, W, 1 or 3]"
        )
    if (columns is not None and columns < 1) or padding < 0 or scale < 1:
        raise ValueError(
            f"a grid with columns {columns}, padding {padding} and scale {scale} was requested; use at least 1, 0 and 1"
        )
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = -(-len(images) // columns)
    cells = images.repeat(scale, axis=1).repeat(scale, axis=2)
    _, height, width, channels = cells.shape
    level: Any = {"constant_values": background}
    cells = np.pad(cells, ((0, rows * columns - len(cells)), (padding, 0), (padding, 0), (0, 0)), **level)
    image = cells.reshape(rows, columns, height + padding, width + padding, channels).swapaxes(1, 2)
    image = image.reshape(rows * (height + padding), columns * (width + padding), channels)
    return np.pad(image, ((0, padding), (0, padding), (0, 0)), **level)


def with_headings(image: np.ndarray, names: Sequence[str], down: bool = False) -> np.ndarray:
    """A grid [H, W, C] uint8 with a line of text above each of len(names) equal columns, or `down`, beside each row.

    Text that is wider than its column is cut off.
    """
    height, width = image.shape[:2]
    left = max(int(font().getlength(name)) for name in names) + 2 * MARGIN if down else 0
    page = Image.new("RGB", (width + left, height + (0 if down else LINE)), "white")
    for index, name in enumerate(names):
        if down:
            place = (MARGIN, round((index + 0.5) * height / len(names) - LINE / 2))
        else:
            shown = _cut(name, width / len(names) - 2)
            place = (round((index + 0.5) * width / len(names) - font().getlength(shown) / 2), 0)
        ImageDraw.Draw(page).text(place, name if down else shown, fill="black", font=font())
    page.paste(Image.fromarray(np.broadcast_to(image, (height, width, 3))), (left, page.height - height))
    return np.asarray(page)


def _cut(text: str, width: float) -> str:
    """As much of a text as fits into `width` pixels."""
    return next((text[:end] for end in range(len(text), 0, -1) if font().getlength(text[:end]) <= width), "")


@functools.cache
def font() -> Any:
    """The font of headings."""
    return ImageFont.load_default(11)


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes `image` [H, W, 1 or 3] uint8 as a PNG file; raises ValueError for another dtype or shape."""
    if image.ndim != 3 or image.dtype != np.uint8 or image.shape[-1] not in (1, 3):
        raise ValueError(f"an image of {image.dtype} {image.shape} was given; a PNG file takes uint8 [H, W, 1 or 3]")
    content = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    write_atomically(pathlib.Path(path), lambda file: content.save(file, format="PNG"))


def write_gif(path: str | os.PathLike, frames: Sequence[np.ndarray], seconds: float = 3.0) -> None:
    """Writes `frames` [H, W, 1 or 3] uint8 as a GIF of `seconds`, whose last frame is then held as long."""
    images = [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in frames]
    durations = [round(1000 * seconds / len(images))] * (len(images) - 1) + [round(1000 * seconds)]
    write_atomically(
        pathlib.Path(path),
        lambda file: images[0].save(
            file, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0
        ),
    )


def _images(samples: np.ndarray, num_levels: int, columns: int | None) -> np.ndarray:
    cells = to_uint8(samples, num_levels)
    if cells.shape[-1] not in (1, 3):
        cells = np.concatenate(np.split(cells, cells.shape[-1], axis=-1), axis=2)
    return grid(cells, columns, GAP, max(1, SIDE // samples.shape[1]), GAP_GRAY)


def _volumes(samples: np.ndarray, num_levels: int, columns: int | None) -> np.ndarray:
    """A row of slices for each volume, from the first to the last."""
    depth = samples.shape[1]
    chosen = np.linspace(0, depth - 1, min(depth, MAX_SLICES)).round().astype(int)
    strips = np.concatenate([samples[:, index] for index in chosen], axis=2)
    return _images(strips, num_levels, columns or math.ceil(math.sqrt(len(samples) / len(chosen))))


def _series(samples: np.ndarray, num_levels: int, columns: int | None) -> np.ndarray:
    """A frame for each series; the vertical axis is the value, from the smallest to the largest of all series."""
    heights = PLOT_HEIGHT - MARGIN - _unit(samples) * (PLOT_HEIGHT - 2 * MARGIN)
    across = np.linspace(MARGIN, PLOT_WIDTH - MARGIN, samples.shape[1])
    cells = np.empty((len(samples), PLOT_HEIGHT, PLOT_WIDTH, 3), np.uint8)
    for cell, lines in zip(cells, heights, strict=True):
        plot = Image.new("RGB", (PLOT_WIDTH, PLOT_HEIGHT), "white")
        for channel, color in zip(lines.T, itertools.cycle(COLORS)):
            ImageDraw.Draw(plot).line(list(zip(across.tolist(), channel.tolist(), strict=True)), fill=color)
        cell[:] = np.asarray(plot)
    return grid(cells, columns)


def _vectors(samples: np.ndarray, num_levels: int, columns: int | None) -> np.ndarray:
    """Row i, column j: feature i (up) against feature j (right); histograms on the diagonal."""
    num = min(samples.shape[1], MAX_FEATURES)
    places = np.stack([_unit(samples[:, k]) for k in range(num)])
    cells = np.empty((num * num, PANEL, PANEL, 3), np.uint8)
    for cell, (i, j) in zip(cells, itertools.product(range(num), repeat=2), strict=True):
        plot = Image.new("RGB", (PANEL, PANEL), "white")
        draw, span = ImageDraw.Draw(plot), PANEL - 2 * MARGIN
        if i == j:
            counts, _ = np.histogram(places[i], bins=20, range=(0, 1))
            for k, height in enumerate(counts / counts.max() * span):
                left = MARGIN + k * span / 20
                draw.rectangle((left, PANEL - MARGIN - height, left + span / 20, PANEL - MARGIN), fill=COLORS[0])
        else:
            for x, y in zip(MARGIN + places[j] * span, PANEL - MARGIN - places[i] * span, strict=True):
                draw.rectangle((x - 0.5, y - 0.5, x + 0.5, y + 0.5), fill=COLORS[0])
        cell[:] = np.asarray(plot)
    return grid(cells, num)


def _unit(values: np.ndarray) -> np.ndarray:
    """Values mapped to [0, 1], from the smallest to the largest finite one; non-finite values become 0."""
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0, 1)
    return np.where(finite, (values - np.float64(low)) / max(float(high) - float(low), 1e-12), 0)


GRIDS = {1: _vectors, 2: _series, 3: _images, 4: _volumes}

"""Samples of any rank on one sheet: images as they are, volumes as slices, series as lines, vectors as points."""

import itertools
import math

import numpy as np
from PIL import Image, ImageDraw

from reports.images import grid

COLOURS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14))  # of channels
PLOT_WIDTH, PLOT_HEIGHT = 160, 80  # of a series, in pixels
MAX_SLICES = 8  # of a volume
MAX_FEATURES, PANEL = 5, 120  # of a vector: the first ones are plotted against each other, in panels of so many pixels
MARGIN = 4  # pixels between a plot and its frame


def sheet(samples: np.ndarray, num_levels: int, columns: int | None = None) -> np.ndarray:
    """One picture [H, W, 1 or 3] uint8 of `samples` [N, ...]: levels below `num_levels`, or values where that is 0.

    By their rank: [N, H, W, C] images, of 1 or 3 channels, or with one channel beside the other in grey; volumes
    [N, D, H, W, C] as up to 8 slices along D; series [N, L, C] as lines, C colours, on one scale; vectors [N, D] as the
    first 5 features against each other. `columns`: how many samples are in a row, unless they are vectors; by default
    about a square. Errors: ValueError for another rank, or no samples.
    """
    if samples.ndim - 1 not in SHEETS or not len(samples):
        raise ValueError(f"a sheet of samples {samples.shape} was asked for; give [N, ...] of rank 1 to 4")
    return SHEETS[samples.ndim - 1](samples, num_levels, columns)


def shades(samples: np.ndarray, num_levels: int) -> np.ndarray:
    """`samples` [N, ...] in 8 bits: levels in proportion, other values from the least to the largest."""
    unit = samples.astype(np.float32) / (num_levels - 1) if num_levels else _unit(samples)
    return np.round(255 * unit).astype(np.uint8)


def _images(samples: np.ndarray, num_levels: int, columns: int | None) -> np.ndarray:
    cells = shades(samples, num_levels)
    if cells.shape[-1] not in (1, 3):
        cells = np.concatenate(np.split(cells, cells.shape[-1], axis=-1), axis=2)
    return grid(cells, columns, scale=max(1, 64 // samples.shape[1]))


def _volumes(samples: np.ndarray, num_levels: int, columns: int | None) -> np.ndarray:
    """A row of slices for each volume, from the first to the last."""
    depth = samples.shape[1]
    chosen = np.linspace(0, depth - 1, min(depth, MAX_SLICES)).round().astype(int)
    strips = np.concatenate([samples[:, index] for index in chosen], axis=2)
    return _images(strips, num_levels, columns or math.ceil(math.sqrt(len(samples) / len(chosen))))


def _series(samples: np.ndarray, num_levels: int, columns: int | None) -> np.ndarray:
    """A frame for each series; height is the value, from the least to the largest of all of them."""
    heights = PLOT_HEIGHT - MARGIN - _unit(samples) * (PLOT_HEIGHT - 2 * MARGIN)
    across = np.linspace(MARGIN, PLOT_WIDTH - MARGIN, samples.shape[1])
    cells = np.empty((len(samples), PLOT_HEIGHT, PLOT_WIDTH, 3), np.uint8)
    for cell, lines in zip(cells, heights, strict=True):
        plot = Image.new("RGB", (PLOT_WIDTH, PLOT_HEIGHT), "white")
        for channel, colour in zip(lines.T, itertools.cycle(COLOURS)):
            ImageDraw.Draw(plot).line(list(zip(across.tolist(), channel.tolist(), strict=True)), fill=colour)
        cell[:] = np.asarray(plot)
    return grid(cells, columns)


def _vectors(samples: np.ndarray, num_levels: int, columns: int | None) -> np.ndarray:
    """Row i, column j: feature i upwards against feature j to the right; on the diagonal how often each value is."""
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
                draw.rectangle((left, PANEL - MARGIN - height, left + span / 20, PANEL - MARGIN), fill=COLOURS[0])
        else:
            for x, y in zip(MARGIN + places[j] * span, PANEL - MARGIN - places[i] * span, strict=True):
                draw.rectangle((x - 0.5, y - 0.5, x + 0.5, y + 0.5), fill=COLOURS[0])
        cell[:] = np.asarray(plot)
    return grid(cells, num)


def _unit(values: np.ndarray) -> np.ndarray:
    """Values onto [0, 1], from the least to the largest of the finite ones; those that are not finite become 0."""
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0, 1)
    return np.where(finite, (values - np.float64(low)) / max(float(high) - float(low), 1e-12), 0)


SHEETS = {1: _vectors, 2: _series, 3: _images, 4: _volumes}

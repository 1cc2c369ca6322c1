"""Restorations without a model, to compare with. Examples are [N, *sides, C], or vectors [N, D]."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image


class Baseline(NamedTuple):
    """A restoration without a model: its name, and `(measured, known, shape) -> restored` [N, *shape].

    `measured` [N, ...] is the measurement as data, and `known` is the mask [1 or N, ...] of tasks that have one.
    """

    name: str
    restore: Callable[[np.ndarray, np.ndarray, tuple[int, ...]], np.ndarray]


def mean_fill(measured: np.ndarray, known: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Unknown entries get the mean of the known ones of their channel; `known` is broadcastable to `measured`."""
    known = np.broadcast_to(known, measured.shape)
    axes = tuple(range(1, max(measured.ndim - 1, 2)))  # the sides; a vector is one channel
    total = np.maximum(known.sum(axis=axes, keepdims=True), 1)
    return np.where(known, measured, (measured * known).sum(axis=axes, keepdims=True) / total)


def gray_replicated(measured: np.ndarray, known: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The gray values [N, *sides, 1] in every channel."""
    return np.repeat(measured, shape[-1], axis=-1)


def cubic(measured: np.ndarray, known: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Small examples enlarged to `shape` by cubic interpolation along each side, in floating point."""
    large = np.asarray(measured, np.float32)
    for axis in range(len(shape) - 1, 0, -1):  # the last side first, as Pillow does
        lines = np.moveaxis(large, axis, -1)
        size = shape[axis - 1]
        rows = Image.fromarray(np.ascontiguousarray(lines).reshape(-1, lines.shape[-1]))
        resized = np.asarray(rows.resize((size, rows.height), Image.Resampling.BICUBIC))
        large = np.moveaxis(resized.reshape(*lines.shape[:-1], size), -1, axis)
    return large


def as_measured(measured: np.ndarray, known: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The measurement itself."""
    return measured

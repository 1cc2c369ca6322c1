"""How well images were restored, and baselines without a model. Values are in [0, 1], images [N, H, W, C]."""

from collections.abc import Callable

import numpy as np
from PIL import Image


def psnr_db(images: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio `-10 log10 mean (images - truth)^2` of each image [N], in decibels, clipped to 100."""
    error = np.mean((np.clip(images, 0, 1) - truth).astype(np.float64) ** 2, axis=tuple(range(1, images.ndim)))
    return -10 * np.log10(np.maximum(error, 1e-10))


def mean_fill(measured: np.ndarray, known: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Unknown pixels get the mean color of the known ones; `measured` [N, *shape], `known` broadcastable to it."""
    known = np.broadcast_to(known, measured.shape)
    total = np.maximum(known.sum(axis=(1, 2), keepdims=True), 1)
    return np.where(known, measured, (measured * known).sum(axis=(1, 2), keepdims=True) / total)


def gray_replicated(measured: np.ndarray, known: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The grayscale image [N, H, W, 1] in every channel."""
    return np.repeat(measured, shape[-1], axis=-1)


def bicubic(measured: np.ndarray, known: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Small images enlarged to `shape` by bicubic interpolation, channel by channel in floating point."""
    height, width, channels = shape
    large = np.empty((len(measured), *shape), np.float32)
    for n in range(len(measured)):
        for c in range(channels):
            small = Image.fromarray(np.asarray(measured[n, ..., c], np.float32))
            large[n, ..., c] = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
    return large


def as_measured(measured: np.ndarray, known: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The measurement itself."""
    return measured


# The baseline of each task, from its measurement as an image [N, ...]: its name, and the function.
BASELINES: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray, tuple[int, ...]], np.ndarray]]] = {
    "inpaint": ("mean of the known pixels", mean_fill),
    "colorize": ("grayscale in every channel", gray_replicated),
    "superresolve": ("bicubic", bicubic),
    "deblur": ("the blurred image", as_measured),
    "reconstruct": ("zeros where nothing is known", as_measured),
}

"""Thumbnails as features: means of the pixels in 8 x 8 cells."""

import hashlib

import numpy as np

from evaluation.features.base import Extractor

CELLS = 8  # along each side


def thumbnails(num_levels: int = 256) -> Extractor:
    """Mean pixel values of 8 x 8 cells, in [0, 1]: [B, H, W, C] to [B, 64 C]; fewer cells for shorter sides.

    With so few features, some hundred images determine their covariance; they would not determine that of the pixels.
    """

    def extract(images: np.ndarray) -> dict[str, np.ndarray]:
        sides = images.shape[1:3]
        starts = [np.arange(min(CELLS, side)) * side // min(CELLS, side) for side in sides]
        sums = np.add.reduceat(np.add.reduceat(images.astype(np.float32), starts[0], axis=1), starts[1], axis=2)
        rows, columns = (np.diff([*first, side]) for first, side in zip(starts, sides, strict=True))
        means = sums / (np.outer(rows, columns)[..., None] * np.float32(num_levels - 1))
        return {"features": means.reshape(len(images), -1).astype(np.float32)}

    return Extractor("thumbnails", hashlib.sha256(f"{CELLS} cells, x / {num_levels - 1}".encode()).hexdigest(), extract)

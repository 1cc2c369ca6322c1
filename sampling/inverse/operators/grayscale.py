"""Measurements of the mean of the color channels: colorization."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from sampling.inverse.operators.base import Operator, checked_image

# Columns: gray, and two orthonormal colors; the coordinates of a row vector (R, G, B) are its product with this matrix.
# Source: Song et al. 2021, appendix I.3.
COLOR_BASIS = np.array([[1, -2, 0], [1, 1, 1], [1, 1, -1]]) / np.sqrt([3, 6, 2])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Grayscale(Operator):
    """The mean of three channels [B, H, W, 1]; V^T is `COLOR_BASIS`, S = 1 / sqrt(3) for its first vector."""

    @property
    def singular_values(self) -> Array:
        """1 / sqrt(3) for the gray coordinate, else 0."""
        return jnp.array([1 / math.sqrt(3), 0.0, 0.0])[None, None, None]

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """(H, W, 1)."""
        return (*self.shape[:-1], 1)

    def to_basis(self, x: Array) -> Array:
        """Coordinates in the color basis; the first is sqrt(3) times the gray value."""
        return jnp.matmul(self._checked(x), jnp.asarray(COLOR_BASIS, x.dtype), precision="highest")

    def from_basis(self, c: Array) -> Array:
        """Red, green and blue from the coordinates."""
        return jnp.matmul(c, jnp.asarray(COLOR_BASIS.T, c.dtype), precision="highest")

    def to_spectrum(self, y: Array) -> Array:
        """The grayscale image as the first coordinate."""
        return jnp.pad(y, (*3 * ((0, 0),), (0, 2)))

    def from_spectrum(self, c: Array) -> Array:
        """The first coordinate."""
        return c[..., :1]


def grayscale(shape: Sequence[int]) -> Grayscale:
    """Colorization: measures the mean of the channels of images with `shape` = (H, W, 3).

    Errors: ValueError for another number of channels.
    """
    if checked_image(shape)[2] != 3:
        raise ValueError(f"Grayscale is the mean of three channels, but the images have shape {tuple(shape)}.")
    return Grayscale(tuple(shape))

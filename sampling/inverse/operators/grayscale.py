"""Measurements of the mean of the channels: colorization."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from sampling.inverse.operators.base import SpectralOperator, checked_sides
from sampling.inverse.operators.downsample import cosine_basis

# Columns: gray, and two orthonormal colors; the coordinates of a row vector (R, G, B) are its product with this matrix.
# Source: Song et al. 2021, appendix I.3.
COLOR_BASIS = np.array([[1, -2, 0], [1, 1, 1], [1, 1, -1]]) / np.sqrt([3, 6, 2])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Grayscale(SpectralOperator):
    """The mean of the channels, [B, *sides, 1]: S = 1 / sqrt(C) for the first vector of V, which is constant.

    V is `COLOR_BASIS` for three channels, and the cosine basis for another number.
    """

    @property
    def singular_values(self) -> Array:
        """1 / sqrt(C) for the gray coordinate, else 0."""
        channels = self.shape[-1]
        return jnp.zeros(len(self.shape) * (1,) + (channels,)).at[..., 0].set(1 / math.sqrt(channels))

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """(*sides, 1)."""
        return (*self.shape[:-1], 1)

    def to_basis(self, x: Array) -> Array:
        """Coordinates in the color basis; the first is sqrt(C) times the gray value."""
        return jnp.matmul(self._checked(x), jnp.asarray(self._basis, x.dtype), precision="highest")

    def from_basis(self, c: Array) -> Array:
        """The channels from the coordinates."""
        return jnp.matmul(c, jnp.asarray(self._basis.T, c.dtype), precision="highest")

    def to_spectrum(self, y: Array) -> Array:
        """The gray values as the first coordinate."""
        return jnp.pad(y, ((0, 0),) * (y.ndim - 1) + ((0, self.shape[-1] - 1),))

    def from_spectrum(self, c: Array) -> Array:
        """The first coordinate."""
        return c[..., :1]

    @property
    def _basis(self) -> np.ndarray:
        return COLOR_BASIS if self.shape[-1] == 3 else cosine_basis(self.shape[-1]).T


def grayscale(shape: Sequence[int]) -> Grayscale:
    """Colorization: measures the mean of the channels of series, images or volumes with `shape` = (*sides, C).

    Errors: ValueError for a vector, and for a single channel, which has no colors.
    """
    checked_sides(shape)
    if shape[-1] < 2:
        raise ValueError(
            f"Colorization restores two or more channels from their mean, but examples have the shape {tuple(shape)}; "
            "choose another task."
        )
    return Grayscale(tuple(shape))

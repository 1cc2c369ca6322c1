"""Linear measurements of images that average: blocks of pixels, or the channels."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from sampling.inverse.operators.base import Operator


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Downsample(Operator):
    """Means of k x k blocks of images: V^T is the cosine transform of each block, whose first function is constant.

    Coordinates are [B, H / k, k, W / k, k, C]; S = 1 / k for the first of each block. See `downsample`.
    """

    factor: int = dataclasses.field(metadata={"static": True})

    @property
    def singular_values(self) -> Array:
        """1 / k for the mean of a block, else 0."""
        first = jnp.zeros(self.factor).at[0].set(1.0)
        return (jnp.outer(first, first) / self.factor)[None, None, :, None, :, None]

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """(H / k, W / k, C)."""
        height, width, channels = self.shape
        return height // self.factor, width // self.factor, channels

    def to_basis(self, x: Array) -> Array:
        """The cosine transform of each block."""
        height, width, channels = self.measurement_shape
        blocks = self._checked(x).reshape(-1, height, self.factor, width, self.factor, channels)
        return jnp.einsum("ai,bj,nhiwjc->nhawbc", *2 * (cosine_basis(self.factor),), blocks, precision="highest")

    def from_basis(self, c: Array) -> Array:
        """Blocks put together again."""
        blocks = jnp.einsum("ai,bj,nhawbc->nhiwjc", *2 * (cosine_basis(self.factor),), c, precision="highest")
        return blocks.reshape(-1, *self.shape)

    def to_spectrum(self, y: Array) -> Array:
        """The small image y at the first coordinate of each block."""
        height, width, channels = self.measurement_shape
        c = jnp.zeros((y.shape[0], height, self.factor, width, self.factor, channels), y.dtype)
        return c.at[:, :, 0, :, 0].set(y)

    def from_spectrum(self, c: Array) -> Array:
        """The first coordinate of each block."""
        return c[:, :, 0, :, 0]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gray(Operator):
    """The mean of the three channels [B, H, W, 1]; V^T is `COLOR_BASIS`, S = 1 / sqrt(3) for its first vector."""

    @property
    def singular_values(self) -> Array:
        """1 / sqrt(3) for the grey coordinate, else 0."""
        return jnp.array([1 / math.sqrt(3), 0.0, 0.0])[None, None, None]

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """(H, W, 1)."""
        return (*self.shape[:-1], 1)

    def to_basis(self, x: Array) -> Array:
        """The colour basis: sqrt(3) times the grey first."""
        return jnp.matmul(self._checked(x), jnp.asarray(COLOR_BASIS, x.dtype), precision="highest")

    def from_basis(self, c: Array) -> Array:
        """Back to red, green, blue."""
        return jnp.matmul(c, jnp.asarray(COLOR_BASIS.T, c.dtype), precision="highest")

    def to_spectrum(self, y: Array) -> Array:
        """The grey image as first coordinate."""
        return jnp.pad(y, (*3 * ((0, 0),), (0, 2)))

    def from_spectrum(self, c: Array) -> Array:
        """The first coordinate."""
        return c[..., :1]


def downsample(shape: Sequence[int], factor: int) -> Downsample:
    """Super-resolution: the means of `factor` x `factor` blocks of images `shape` = (H, W, C).

    Errors: ValueError where `shape` is no image or its sides are no multiples of `factor`.
    """
    height, width, _ = checked_image(shape)
    if factor < 1 or height % factor or width % factor:
        raise ValueError(f"factor = {factor} does not divide the sides of an image {height} x {width}.")
    return Downsample(tuple(shape), factor)


def gray(shape: Sequence[int]) -> Gray:
    """Colourisation: the mean of the channels of images `shape` = (H, W, 3). Errors: ValueError for other channels."""
    if checked_image(shape)[2] != 3:
        raise ValueError(f"Grey is the mean of three channels, but the images have shape {tuple(shape)}.")
    return Gray(tuple(shape))


def checked_image(shape: Sequence[int]) -> tuple[int, int, int]:
    """(H, W, C). Errors: ValueError where `shape` has another number of axes."""
    if len(shape) != 3:
        raise ValueError(f"This operator measures images of shape (H, W, C), not {tuple(shape)}.")
    return shape[0], shape[1], shape[2]


def cosine_basis(num: int) -> np.ndarray:
    """The orthonormal cosine transform (DCT-II) [num, num] in float32; its first row is constant."""
    k, i = np.arange(num)[:, None], np.arange(num)[None]
    basis = np.cos(np.pi * k * (i + 0.5) / num) * np.sqrt(2 / num)
    return np.where(k == 0, np.sqrt(1 / num), basis).astype(np.float32)


# Columns: grey, and two orthonormal colours; coordinates of a row vector (R, G, B) are its product with this matrix.
# Source: Song et al. 2021, appendix I.3.
COLOR_BASIS = np.array([[1, -2, 0], [1, 1, 1], [1, 1, -1]]) / np.sqrt([3, 6, 2])

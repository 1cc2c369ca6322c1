"""Measurements of the means of blocks of pixels: super-resolution."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from sampling.inverse.operators.base import Operator, checked_image


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Downsample(Operator):
    """Means of k x k blocks of images: V^T is the cosine transform of each block; its first function is constant.

    Coordinates are [B, H / k, k, W / k, k, C]; S = 1 / k for the first of each block. See `downsample`.
    """

    factor: int = dataclasses.field(metadata={"static": True})

    @property
    def singular_values(self) -> Array:
        """1 / k for the mean of each block, else 0."""
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
        """The image, reassembled from its blocks."""
        blocks = jnp.einsum("ai,bj,nhawbc->nhiwjc", *2 * (cosine_basis(self.factor),), c, precision="highest")
        return blocks.reshape(-1, *self.shape)

    def to_spectrum(self, y: Array) -> Array:
        """The small image y as the first coordinate of each block."""
        height, width, channels = self.measurement_shape
        c = jnp.zeros((y.shape[0], height, self.factor, width, self.factor, channels), y.dtype)
        return c.at[:, :, 0, :, 0].set(y)

    def from_spectrum(self, c: Array) -> Array:
        """The first coordinate of each block."""
        return c[:, :, 0, :, 0]


def downsample(shape: Sequence[int], factor: int) -> Downsample:
    """Super-resolution: measures the means of `factor` x `factor` blocks of images with `shape` = (H, W, C).

    Errors: ValueError if `shape` is not an image, or its sides are not multiples of `factor`.
    """
    height, width, _ = checked_image(shape)
    if factor < 1 or height % factor or width % factor:
        raise ValueError(f"factor = {factor} does not divide the sides of an image {height} x {width}.")
    return Downsample(tuple(shape), factor)


def cosine_basis(num: int) -> np.ndarray:
    """The orthonormal cosine transform (DCT-II) [num, num] in float32; its first row is constant."""
    k, i = np.arange(num)[:, None], np.arange(num)[None]
    basis = np.cos(np.pi * k * (i + 0.5) / num) * np.sqrt(2 / num)
    return np.where(k == 0, np.sqrt(1 / num), basis).astype(np.float32)

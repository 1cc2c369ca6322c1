"""Measurements of the means of blocks: super-resolution."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from sampling.inverse.operators.base import SpectralOperator, checked_sides

OUTER, INNER, FREQUENCY = "hwd", "ijk", "abc"  # einsum letters, one per side: the block, the entry, its frequency


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Downsample(SpectralOperator):
    """Means of blocks with d sides of k entries: V^T is the cosine transform of each; its first function is constant.

    The coordinates of images are [B, H / k, k, W / k, k, C], and those of other ranks accordingly; S = k^(-d / 2) for
    the first coordinate of each block. See `downsample`.
    """

    factor: int = dataclasses.field(metadata={"static": True})

    @property
    def singular_values(self) -> Array:
        """k^(-d / 2) for the mean of each block, else 0."""
        d = len(self.shape) - 1
        first = jnp.zeros(d * (self.factor,)).at[d * (0,)].set(1.0)
        return (first / self.factor ** (d / 2)).reshape(1, *d * (1, self.factor), 1)

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """(H / k, W / k, C) for images, and accordingly for other ranks."""
        return (*(side // self.factor for side in self.shape[:-1]), self.shape[-1])

    def to_basis(self, x: Array) -> Array:
        """The cosine transform of each block."""
        return self._transform(self._checked(x).reshape(-1, *self._blocks), INNER, FREQUENCY)

    def from_basis(self, c: Array) -> Array:
        """x, reassembled from its blocks."""
        return self._transform(c, FREQUENCY, INNER).reshape(-1, *self.shape)

    def to_spectrum(self, y: Array) -> Array:
        """The means y as the first coordinate of each block."""
        return jnp.zeros((y.shape[0], *self._blocks), y.dtype).at[self._first].set(y)

    def from_spectrum(self, c: Array) -> Array:
        """The first coordinate of each block."""
        return c[self._first]

    @property
    def _blocks(self) -> tuple[int, ...]:
        """The shape of coordinates, without the batch axis."""
        *sides, channels = self.measurement_shape
        return (*(n for side in sides for n in (side, self.factor)), channels)

    @property
    def _first(self) -> tuple[slice | int, ...]:
        """The index of the first coordinate of each block."""
        return slice(None), *(len(self.shape) - 1) * (slice(None), 0)

    def _transform(self, blocks: Array, start: str, end: str) -> Array:
        """The cosine transform along every side of the blocks [B, H / k, k, W / k, k, ..., C], or back."""
        d = len(self.shape) - 1
        matrices = ",".join(FREQUENCY[i] + INNER[i] for i in range(d))
        before, after = ("".join(OUTER[i] + letters[i] for i in range(d)) for letters in (start, end))
        formula = f"{matrices},n{before}z->n{after}z"  # of images: ai,bj,nhiwjz->nhawbz
        return jnp.einsum(formula, *d * (cosine_basis(self.factor),), blocks, precision="highest")


def downsample(shape: Sequence[int], factor: int) -> Downsample:
    """Super-resolution: measures the means of blocks with `factor` entries per side, of x with `shape` = (*sides, C).

    Errors: ValueError for a vector, and if `factor` does not divide a side.
    """
    sides = checked_sides(shape)
    if factor < 1 or any(side % factor for side in sides):
        raise ValueError(f"factor = {factor} does not divide the sides {' x '.join(map(str, sides))}.")
    return Downsample(tuple(shape), factor)


def cosine_basis(num: int) -> np.ndarray:
    """The orthonormal cosine transform (DCT-II) [num, num] in float32; its first row is constant."""
    k, i = np.arange(num)[:, None], np.arange(num)[None]
    basis = np.cos(np.pi * k * (i + 0.5) / num) * np.sqrt(2 / num)
    return np.where(k == 0, np.sqrt(1 / num), basis).astype(np.float32)

"""Measurements by any matrix."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from core.arrays import Array
from sampling.inverse.operators.base import SpectralOperator


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dense(SpectralOperator):
    """A matrix A [M, D], applied to x flattened to [B, D]; y is [B, M]. See `dense`."""

    U: Array  # [M, R], R = min(M, D)
    s: Array  # [R]
    Vt: Array  # [D, D], the right singular vectors, completed to a basis

    @property
    def singular_values(self) -> Array:
        """S [1, D], padded with zeros."""
        return jnp.pad(self.s, (0, self.Vt.shape[0] - self.s.shape[0]))[None]

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """(M,)."""
        return (self.U.shape[0],)

    def to_basis(self, x: Array) -> Array:
        """V^T x."""
        return jnp.matmul(self._checked(x).reshape(x.shape[0], -1), self.Vt.T, precision="highest")

    def from_basis(self, c: Array) -> Array:
        """V c."""
        return jnp.matmul(c, self.Vt, precision="highest").reshape(-1, *self.shape)

    def to_spectrum(self, y: Array) -> Array:
        """U^T y, padded with zeros."""
        c = jnp.matmul(y, self.U, precision="highest")
        return jnp.pad(c, ((0, 0), (0, self.Vt.shape[0] - c.shape[1])))

    def from_spectrum(self, c: Array) -> Array:
        """U c."""
        c = jnp.where(self.measured, c, 0.0)[:, : self.s.shape[0]]
        return jnp.matmul(c, self.U.T, precision="highest")


def dense(shape: Sequence[int], matrix: ArrayLike, rtol: float = 1e-6) -> Dense:
    """Any matrix A [M, D] on x [B, *shape] with D entries; its singular value decomposition is computed here.

    `rtol`: singular values below this fraction of the largest count as zero. Errors: ValueError if D does not match.
    """
    A = np.asarray(matrix)
    if A.ndim != 2 or A.shape[1] != math.prod(shape):
        raise ValueError(f"The matrix has shape {A.shape}, but x {tuple(shape)} needs [M, {math.prod(shape)}].")
    U, s, Vt = np.linalg.svd(A.astype(np.float64))
    s = np.where(s > rtol * s.max(initial=0.0), s, 0.0)
    return Dense(tuple(shape), *(jnp.asarray(part, jnp.float32) for part in (U[:, : len(s)], s, Vt)))

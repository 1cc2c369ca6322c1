"""Measurements by any matrix."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from core.arrays import Array
from sampling.inverse.operators.factored import Factored, decomposition


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dense:
    """A matrix A [M, D], real or complex, applied to x flattened to [B, D]; y is [B, M]."""

    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    matrix: Array

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """(M,)."""
        return (self.matrix.shape[0],)

    def measure(self, x: Array) -> Array:
        """A x."""
        return jnp.matmul(x.reshape(x.shape[0], -1), self.matrix.T, precision="highest")

    def adjoint(self, y: Array) -> Array:
        """The real part of A^* y."""
        return jnp.matmul(y, self.matrix.conj(), precision="highest").real.reshape(-1, *self.shape)


def dense(shape: Sequence[int], matrix: ArrayLike, rtol: float = 1e-6) -> Factored:
    """Any real matrix A [M, D] on x [B, *shape] with D entries; its singular value decomposition is computed here.

    `rtol`: singular values below this fraction of the largest count as zero. Errors: ValueError if D does not match.
    """
    A = np.asarray(matrix)
    if A.ndim != 2 or A.shape[1] != math.prod(shape):
        raise ValueError(f"The matrix has shape {A.shape}, but x {tuple(shape)} needs [M, {math.prod(shape)}].")
    operator = Dense(tuple(shape), jnp.asarray(A, jnp.float32))
    return Factored(operator.shape, operator, *decomposition(A.astype(np.float64), rtol))

"""A linear operator that is known by its products alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Products:
    """A matrix A [M, D], real or complex, on x with D entries; it knows no singular values. y is [B, M]."""

    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    matrix: Array

    @property
    def measurement_shape(self):
        return (self.matrix.shape[0],)

    def measure(self, x):
        return jnp.matmul(x.reshape(len(x), -1), self.matrix.T, precision="highest")

    def adjoint(self, y):
        return jnp.matmul(y, self.matrix.conj(), precision="highest").real.reshape(-1, *self.shape)


def products(shape, matrix):
    return Products(tuple(shape), jnp.asarray(matrix))


def line_sums(height, width):
    """The matrix of the sums of the rows and the columns of an image: one row depends on the others."""
    pixels = np.arange(height * width).reshape(height, width)
    lines = [*pixels, *pixels.T]
    return np.array([np.isin(np.arange(height * width), line) for line in lines], np.float32)

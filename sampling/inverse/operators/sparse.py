"""Sparse matrices that multiply from both sides by gathering, the same way on every device."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from core.arrays import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of a matrix [M, N]: K columns and their weights [M, K]; shorter rows end in weights of zero."""

    columns: Array
    weights: Array

    @jax.jit  # step by step, the terms would be in memory several times
    def times(self, x: Array) -> Array:
        """The product [M, R] with x [N, R].

        The terms are added in pairs, these in pairs, and so on, so that rounding errors grow with log K, not with K.
        """
        terms = self.weights[..., None] * x[self.columns]
        num = terms.shape[1]
        terms = jnp.pad(terms, ((0, 0), (0, (1 << (num - 1).bit_length()) - num), (0, 0)))
        while terms.shape[1] > 1:
            first, second = jnp.split(terms, 2, axis=1)
            terms = first + second
        return terms[:, 0]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sparse:
    """A matrix A and its transpose, with the same numbers; see `sparse`."""

    rows: Rows
    columns: Rows

    def times(self, x: Array) -> Array:
        """A x [M, R] of x [N, R]."""
        return self.rows.times(x)

    def transposed_times(self, y: Array) -> Array:
        """A^T y [N, R] of y [M, R]."""
        return self.columns.times(y)


def sparse(matrix: scipy.sparse.csr_array) -> Sparse:
    """A matrix of SciPy [M, N] in float32."""
    return Sparse(rows(matrix), rows(matrix.T.tocsr()))


def rows(matrix: scipy.sparse.csr_array) -> Rows:
    """The rows of a matrix of SciPy [M, N] in float32."""
    lengths = np.diff(matrix.indptr)
    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(row)) - matrix.indptr[row]
    shape = (len(lengths), max(int(lengths.max(initial=1)), 1))
    columns, weights = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    columns[row, place], weights[row, place] = matrix.indices, matrix.data
    return Rows(jnp.asarray(columns), jnp.asarray(weights))

"""Measurements with noise of a known standard deviation per entry, such as photon counts, as ones with white noise."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from sampling.inverse.operators.base import LinearOperator


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Weighted:
    """W A for diagonal weights W: y = A x + n with n_i of standard deviation 1 / w_i has W y = W A x + white noise.

    `weights` [1 or B, ...] broadcast to y of `operator`; the noise of W y has the standard deviation one.
    """

    operator: LinearOperator
    weights: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """That of A."""
        return self.operator.shape

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """That of A."""
        return self.operator.measurement_shape

    def measure(self, x: Array) -> Array:
        """W A x."""
        return self.weights * self.operator.measure(x)

    def adjoint(self, y: Array) -> Array:
        """A^T W y."""
        return self.operator.adjoint(self.weights * y)

    def of_examples(self, rows: np.ndarray) -> "Weighted":
        """The operator of the examples `rows`, where each has weights of its own."""
        return self if len(self.weights) == 1 else dataclasses.replace(self, weights=self.weights[rows])


def photon_counts(keys: Array, operator: LinearOperator, x: Array, photons: float) -> Array:
    """Counts ~ Poisson(photons exp(-A x)) [B, *measurement_shape] float32, from a key per example (`keys` [B]).

    `photons`: sent along each line; A x [B, ...]: the attenuation along it, in nepers.
    """
    rates = photons * jnp.exp(-operator.measure(x))
    return jax.vmap(jax.random.poisson)(keys, rates).astype(jnp.float32)


def from_counts(operator: LinearOperator, counts: Array, photons: float) -> tuple[Weighted, Array]:
    """(W A, W y) with y = log(photons / counts) and w = sqrt(counts), whose noise is white with deviation one.

    A count n with mean lambda has log n = log lambda + noise of variance 1 / lambda, to first order; lambda is
    estimated by n itself. A count of zero counts as one half.
    Source: Sauer and Bouman, "A local update strategy for iterative reconstruction from projections", IEEE Trans.
    Signal Process. 41, 1993, equation 8.
    """
    n = jnp.maximum(counts, 0.5)
    weights = jnp.sqrt(n)
    return Weighted(operator, weights), weights * jnp.log(photons / n)

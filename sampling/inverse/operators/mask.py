"""Measurements of some entries of x: inpainting."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from core.arrays import Array
from sampling.inverse.operators.base import SpectralOperator, fitted_mask


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mask(SpectralOperator):
    """Some entries of x: V = U = I, S = 1 where known; y is x with zeros for the unknown entries. See `mask`."""

    known: Array  # bool, [1 or B, ...], broadcastable to x

    def of_examples(self, rows: np.ndarray) -> "Mask":
        """The operator of examples `rows` [n]; the same where all have one mask."""
        return self if len(self.known) == 1 else dataclasses.replace(self, known=self.known[rows])

    @property
    def singular_values(self) -> Array:
        """1 where known, else 0."""
        return self.known.astype(jnp.float32)

    def to_basis(self, x: Array) -> Array:
        """x itself."""
        return self._checked(x)

    def from_basis(self, c: Array) -> Array:
        """The coordinates themselves."""
        return c

    def to_spectrum(self, y: Array) -> Array:
        """y itself."""
        return y

    def from_spectrum(self, c: Array) -> Array:
        """The coordinates, with zeros for the unknown entries."""
        return jnp.where(self.known, c, 0.0)


def mask(shape: Sequence[int], known: ArrayLike) -> Mask:
    """Inpainting: measures the entries of x [B, *shape] where `known` is not zero.

    `known`: [*shape] or, one mask per example, [B, *shape]; axes of length 1, such as the channels of [H, W, 1], are
    broadcast. Errors: ValueError if the shapes do not match.
    """
    return Mask(tuple(shape), fitted_mask(tuple(shape), known))

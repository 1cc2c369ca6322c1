"""Some coefficients of the Fourier transform: reconstruction from frequencies, as in MRI."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from core.arrays import Array
from sampling.inverse.operators.base import SpectralOperator, checked_sides, fitted_mask, spatial_axes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fourier(SpectralOperator):
    """Some coefficients of the unitary Fourier transform of real x: V^T is the Hartley transform, S = 0 or 1.

    Real x has X(-f) = conj X(f), so the complex coefficients of f and -f hold two real numbers, not four: the
    Hartley coordinates h(f) = Re X(f) - Im X(f) and h(-f). They are orthonormal and as many as entries of x.
    y [B, *sides, C] is complex, in the order of `fftn` (zero frequency first), and zero where nothing is known; only
    its symmetric part is used. White noise with standard deviation `std` per coordinate corresponds to noise of x:
    E|noise of X(f)|^2 = std^2, half of it real and half imaginary, but all of it real for f = -f. See `fourier`.
    """

    known: Array  # bool, [1 or B, *sides, 1 or C], symmetric under f -> -f

    @property
    def singular_values(self) -> Array:
        """1 where known, else 0."""
        return self.known.astype(jnp.float32)

    def to_basis(self, x: Array) -> Array:
        """The Hartley transform."""
        return hartley(self._checked(x))

    def from_basis(self, c: Array) -> Array:
        """The Hartley transform, its own inverse."""
        return hartley(c)

    def to_spectrum(self, y: Array) -> Array:
        """Hartley coordinates of the symmetric part of the coefficients."""
        return hartley(jnp.fft.ifftn(y, axes=spatial_axes(y), norm="ortho").real)

    def from_spectrum(self, c: Array) -> Array:
        """The coefficients, zero where unknown."""
        return jnp.where(self.known, jnp.fft.fftn(hartley(c), axes=spatial_axes(c), norm="ortho"), 0.0)


def fourier(shape: Sequence[int], known: ArrayLike) -> Fourier:
    """Measures coefficients of the unitary Fourier transform of examples of `shape` = (*sides, C), over all sides.

    `known`: nonzero for the coefficients measured, [*sides, 1 or C] or [B, *sides, 1 or C], in the order of `fftn`
    (apply `ifftshift` to a mask whose zero frequency is in the center). If f is known, so is -f.
    Errors: ValueError if the shapes do not match, and for a vector.
    """
    checked_sides(shape)
    mask = fitted_mask(tuple(shape), known)
    axes = spatial_axes(mask)
    return Fourier(tuple(shape), mask | jnp.roll(jnp.flip(mask, axes), (1,) * len(axes), axes))


def hartley(x: Array) -> Array:
    """The Hartley transform h(f) = Re X(f) - Im X(f) of x [B, *sides, C]: orthonormal and its own inverse.

    X is the unitary Fourier transform over the sides; h has as many real coordinates as x has entries.

    Source: Bracewell, "Discrete Hartley transform", J. Opt. Soc. Am. 73, 1983.
    """
    X = jnp.fft.fftn(x, axes=spatial_axes(x), norm="ortho")
    return X.real - X.imag

"""Some coefficients of the Fourier transform of real or complex x: reconstruction from frequencies, as in MRI."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from core.arrays import Array
from sampling.inverse.operators.base import SpectralOperator, checked_sides, fitted_mask, spatial_axes
from sampling.inverse.operators.channels import to_channels, to_complex


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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ComplexFourier(SpectralOperator):
    """Some coefficients of the unitary Fourier transform F of complex x: V^T is F, S = 0 or 1.

    x [B, *sides, 2 C] has real and imaginary parts in turn (see `channels`), and so have the coordinates, F x.
    y [B, *sides, C] is complex, in the order of `fftn` (zero frequency first), and zero where nothing is known. White
    noise with standard deviation `std` per coordinate is that of the real and of the imaginary part of y. See
    `complex_fourier`.
    """

    known: Array  # bool, [1 or B, *sides, 1 or C]

    @property
    def singular_values(self) -> Array:
        """1 where known, else 0."""
        return jnp.repeat(self.known.astype(jnp.float32), 2 if self.known.shape[-1] > 1 else 1, axis=-1)

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """(*sides, C)."""
        return (*self.shape[:-1], self.shape[-1] // 2)

    def to_basis(self, x: Array) -> Array:
        """F x in channels."""
        return to_channels(jnp.fft.fftn(to_complex(self._checked(x)), axes=spatial_axes(x), norm="ortho"))

    def from_basis(self, c: Array) -> Array:
        """F^-1 c in channels."""
        return to_channels(jnp.fft.ifftn(to_complex(c), axes=spatial_axes(c), norm="ortho"))

    def to_spectrum(self, y: Array) -> Array:
        """The coefficients in channels."""
        return to_channels(y)

    def from_spectrum(self, c: Array) -> Array:
        """The coefficients, zero where unknown."""
        return jnp.where(self.known, to_complex(c), 0.0)


def complex_fourier(shape: Sequence[int], known: ArrayLike) -> ComplexFourier:
    """Measures coefficients of complex examples of `shape` = (*sides, 2 C): real and imaginary parts in turn.

    `known`: as in `fourier`, for each of the C complex channels or for all; f is known apart from -f.
    Errors: ValueError if the shapes do not match, for a vector, and for an odd number of channels.
    """
    checked_sides(shape)
    if shape[-1] % 2:
        raise ValueError(
            f"Complex examples have two channels, the real and the imaginary part, but the shape is {tuple(shape)}; "
            "use the operator of real examples."
        )
    return ComplexFourier(tuple(shape), fitted_mask((*shape[:-1], shape[-1] // 2), known))


def hartley(x: Array) -> Array:
    """The Hartley transform h(f) = Re X(f) - Im X(f) of x [B, *sides, C]: orthonormal and its own inverse.

    X is the unitary Fourier transform over the sides; h has as many real coordinates as x has entries.

    Source: Bracewell, "Discrete Hartley transform", J. Opt. Soc. Am. 73, 1983.
    """
    X = jnp.fft.fftn(x, axes=spatial_axes(x), norm="ortho")
    return X.real - X.imag

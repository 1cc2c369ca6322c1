"""Some coefficients of the Fourier transform of images: reconstruction from frequencies, as in MRI."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from core.arrays import Array
from sampling.inverse.operators.base import Operator, checked_image, fitted_mask


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fourier(Operator):
    """Some coefficients of the unitary Fourier transform of real images: V^T is the Hartley transform, S = 0 or 1.

    Real images have X(-f) = conj X(f), so the complex coefficients of f and -f hold two real numbers, not four: the
    Hartley coordinates h(f) = Re X(f) - Im X(f) and h(-f). They are orthonormal and as many as pixels.
    y [B, H, W, C] is complex, in the order of `fft2` (zero frequency first), and zero where nothing is known; only its
    symmetric part is used. White noise with standard deviation `std` per coordinate corresponds to a noisy image:
    E|noise of X(f)|^2 = std^2, half of it real and half imaginary, but all of it real for f = -f. See `fourier`.
    """

    known: Array  # bool, [1 or B, H, W, 1 or C], symmetric under f -> -f

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
        return hartley(jnp.fft.ifft2(y, axes=(1, 2), norm="ortho").real)

    def from_spectrum(self, c: Array) -> Array:
        """The coefficients, zero where unknown."""
        return jnp.where(self.known, jnp.fft.fft2(hartley(c), axes=(1, 2), norm="ortho"), 0.0)


def fourier(shape: Sequence[int], known: ArrayLike) -> Fourier:
    """Measures coefficients of the unitary Fourier transform of images with `shape` = (H, W, C).

    `known`: nonzero for the coefficients measured, [H, W, 1 or C] or [B, H, W, 1 or C], in the order of `fft2` (apply
    `ifftshift` to a mask whose zero frequency is in the center). If f is known, so is -f.
    Errors: ValueError if the shapes do not match.
    """
    checked_image(shape)
    mask = fitted_mask(tuple(shape), known)
    return Fourier(tuple(shape), mask | jnp.roll(mask[:, ::-1, ::-1], (1, 1), axis=(1, 2)))


def hartley(x: Array) -> Array:
    """The Hartley transform h(f) = Re X(f) - Im X(f) of images [B, H, W, C]: orthonormal and its own inverse.

    X is the unitary Fourier transform; h has as many real coordinates as there are pixels.

    Source: Bracewell, "Discrete Hartley transform", J. Opt. Soc. Am. 73, 1983.
    """
    X = jnp.fft.fft2(x, axes=(1, 2), norm="ortho")
    return X.real - X.imag

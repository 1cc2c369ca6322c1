"""Linear measurements that are diagonal in frequency: blur, and some of the coefficients of a Fourier transform.

The basis is the Hartley transform, the real and orthonormal relative of Fourier's: as many real coordinates as pixels,
and the same transform back. See `sampling.inverse.operators.base`.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from core.arrays import Array
from sampling.inverse.operators.averages import checked_image
from sampling.inverse.operators.base import Operator, fitted_mask


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Blur(Operator):
    """Circular convolution: V^T is the Hartley transform, S = |k|, U that transform turned by the phase of k.

    k: Fourier transform of the real kernel, so |k(f)| = |k(-f)|, which S needs: a frequency f and its opposite share
    two real coordinates. See `blur`.
    """

    response: Array  # complex, [1, H, W, 1], zero where too little is left to be told

    @property
    def singular_values(self) -> Array:
        """|k|."""
        return jnp.abs(self.response)

    def to_basis(self, x: Array) -> Array:
        """The Hartley transform."""
        return hartley(self._checked(x))

    def from_basis(self, c: Array) -> Array:
        """The Hartley transform, its own inverse."""
        return hartley(c)

    def to_spectrum(self, y: Array) -> Array:
        """Hartley coordinates of y, turned back."""
        return hartley(_filtered(y, jnp.conj(self._phase)))

    def from_spectrum(self, c: Array) -> Array:
        """The image with these coordinates, turned by the phase."""
        return _filtered(hartley(jnp.where(self.measured, c, 0.0)), self._phase)

    @property
    def _phase(self) -> Array:
        size = jnp.abs(self.response)
        return jnp.where(size > 0, self.response / jnp.where(size > 0, size, 1.0), 1.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fourier(Operator):
    """Some coefficients of the unitary Fourier transform of real images: V^T is the Hartley transform, S = 0 or 1.

    Real images have X(-f) = conj X(f), so the complex coefficients of f and -f are two real numbers, not four: the
    Hartley coordinates h(f) = Re X(f) - Im X(f) and h(-f), orthonormal and as many as pixels. y [B, H, W, C] is
    complex, in the order of `fft2` (zero frequency first) and zero where nothing is known; of a y without the symmetry
    only the symmetric part counts. White noise of `std` per coordinate is that of a noisy image, seen in frequency:
    E|noise of X(f)|^2 = std^2, half of it real and half imaginary, but all of it real where f = -f. See `fourier`.
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
        """From the coefficients to the Hartley coordinates of their symmetric part."""
        return hartley(jnp.fft.ifft2(y, axes=(1, 2), norm="ortho").real)

    def from_spectrum(self, c: Array) -> Array:
        """The coefficients, zero where they are not known."""
        return jnp.where(self.known, jnp.fft.fft2(hartley(c), axes=(1, 2), norm="ortho"), 0.0)


def blur(shape: Sequence[int], kernel: ArrayLike, rtol: float = 1e-3) -> Blur:
    """Circular convolution of images `shape` = (H, W, C) with a `kernel` [h, w] around its entry (h // 2, w // 2).

    `rtol`: frequencies of which less than this part of the strongest is left count as not measured: in float32 and
    in files they are rounding errors, that a pseudo-inverse would enlarge by 1 / rtol.
    Errors: ValueError where the kernel is no matrix, or larger than the image.
    """
    height, width, _ = checked_image(shape)
    k = np.asarray(kernel, np.float64)
    if k.ndim != 2 or k.shape[0] > height or k.shape[1] > width:
        raise ValueError(f"The kernel has shape {k.shape}, but it must be [h, w] within the image {height} x {width}.")
    padded = np.zeros((height, width))
    padded[: k.shape[0], : k.shape[1]] = k
    response = np.fft.fft2(np.roll(padded, (-(k.shape[0] // 2), -(k.shape[1] // 2)), axis=(0, 1)))
    size = np.abs(response)
    response = np.where(size > rtol * size.max(), response, 0.0)
    return Blur(tuple(shape), jnp.asarray(response[None, :, :, None], jnp.complex64))


def gaussian_blur(shape: Sequence[int], width: float, rtol: float = 1e-3) -> Blur:
    """`blur` by a Gaussian of standard deviation `width` in pixels, of weights that sum to one, cut at four widths."""
    if width <= 0:
        raise ValueError(f"width = {width}, but a blur has a positive width, in pixels.")

    def weights(length: int) -> np.ndarray:
        radius = min(math.ceil(4 * width), (length - 1) // 2)
        w = np.exp(-0.5 * (np.arange(-radius, radius + 1) / width) ** 2)
        return w / w.sum()

    rows, columns, _ = checked_image(shape)
    return blur(shape, np.outer(weights(rows), weights(columns)), rtol)


def fourier(shape: Sequence[int], known: ArrayLike) -> Fourier:
    """The coefficients of the unitary Fourier transform of images `shape` = (H, W, C) where `known` is not zero.

    `known`: [H, W, 1 or C] or [B, H, W, 1 or C], in the order of `fft2` (`ifftshift` a mask that is drawn around its
    middle); with f, -f is known too. Errors: ValueError where it does not fit.
    """
    checked_image(shape)
    mask = fitted_mask(tuple(shape), known)
    return Fourier(tuple(shape), mask | jnp.roll(mask[:, ::-1, ::-1], (1, 1), axis=(1, 2)))


def hartley(x: Array) -> Array:
    """h(f) = Re X(f) - Im X(f) of images [B, H, W, C], X their unitary Fourier transform: orthonormal, its own inverse.

    Source: Bracewell, "Discrete Hartley transform", J. Opt. Soc. Am. 73, 1983.
    """
    X = jnp.fft.fft2(x, axes=(1, 2), norm="ortho")
    return X.real - X.imag


def _filtered(x: Array, response: Array) -> Array:
    """Real images [B, H, W, C] with their Fourier transform multiplied by `response`."""
    return jnp.fft.ifft2(response * jnp.fft.fft2(x, axes=(1, 2)), axes=(1, 2)).real

"""Circular convolution, which is diagonal in frequency: deblurring."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from core.arrays import Array
from sampling.inverse.operators.base import SpectralOperator, checked_sides, spatial_axes
from sampling.inverse.operators.fourier import hartley


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Blur(SpectralOperator):
    """Circular convolution: V^T is the Hartley transform, S = |k|, U the inverse transform times the phase of k.

    k is the Fourier transform of the kernel. The kernel is real, so |k(f)| = |k(-f)|, as S requires: a frequency and
    its opposite share two real coordinates. See `blur`.
    """

    response: Array  # complex, [1, *sides, 1], zero for frequencies that count as not measured

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
        """Hartley coordinates of y without the phase."""
        return hartley(_filtered(y, jnp.conj(self._phase)))

    def from_spectrum(self, c: Array) -> Array:
        """x with these coordinates, times the phase."""
        return _filtered(hartley(jnp.where(self.measured, c, 0.0)), self._phase)

    @property
    def _phase(self) -> Array:
        size = jnp.abs(self.response)
        return jnp.where(size > 0, self.response / jnp.where(size > 0, size, 1.0), 1.0)


def blur(shape: Sequence[int], kernel: ArrayLike, rtol: float = 1e-3) -> Blur:
    """Deblurring: circular convolution of examples of `shape` = (*sides, C) with a `kernel` that has an axis per side.

    The center of a kernel [h, w] is its entry (h // 2, w // 2). `rtol`: frequencies with a response below this part of
    the largest count as not measured, because in float32 and in files they are mostly rounding error, which a
    pseudo-inverse would amplify by 1 / rtol.
    Errors: ValueError if the kernel has another rank, or is larger than the example.
    """
    sides = checked_sides(shape)
    k = np.asarray(kernel, np.float64)
    if k.ndim != len(sides) or any(n > side for n, side in zip(k.shape, sides, strict=True)):
        raise ValueError(f"The kernel has shape {k.shape}, but it must have as many axes as {sides}, and fit into it.")
    padded = np.zeros(sides)
    padded[tuple(slice(n) for n in k.shape)] = k
    response = np.fft.fftn(np.roll(padded, [-(n // 2) for n in k.shape], axis=tuple(range(k.ndim))))
    size = np.abs(response)
    response = np.where(size > rtol * size.max(), response, 0.0)
    return Blur(tuple(shape), jnp.asarray(response[None, ..., None], jnp.complex64))


def gaussian_blur(shape: Sequence[int], width: float, rtol: float = 1e-3) -> Blur:
    """`blur` with a Gaussian of standard deviation `width` in pixels, truncated at four widths and normalized."""
    if width <= 0:
        raise ValueError(f"width = {width}, but a blur needs a positive width in pixels.")

    def weights(length: int) -> np.ndarray:
        radius = min(math.ceil(4 * width), (length - 1) // 2)
        w = np.exp(-0.5 * (np.arange(-radius, radius + 1) / width) ** 2)
        return w / w.sum()

    return blur(shape, functools.reduce(np.multiply.outer, map(weights, checked_sides(shape))), rtol)


def _filtered(x: Array, response: Array) -> Array:
    """Real x [B, *sides, C], filtered: its Fourier transform is multiplied by `response`."""
    axes = spatial_axes(x)
    return jnp.fft.ifftn(response * jnp.fft.fftn(x, axes=axes), axes=axes).real

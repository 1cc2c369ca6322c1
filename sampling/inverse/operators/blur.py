"""Circular convolution, which is diagonal in frequency: deblurring."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from core.arrays import Array
from sampling.inverse.operators.base import Operator, checked_image
from sampling.inverse.operators.fourier import hartley


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Blur(Operator):
    """Circular convolution: V^T is the Hartley transform, S = |k|, U the inverse transform times the phase of k.

    k is the Fourier transform of the kernel. The kernel is real, so |k(f)| = |k(-f)|, as S requires: a frequency and
    its opposite share two real coordinates. See `blur`.
    """

    response: Array  # complex, [1, H, W, 1], zero for frequencies that count as not measured

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
        """The image with these coordinates, times the phase."""
        return _filtered(hartley(jnp.where(self.measured, c, 0.0)), self._phase)

    @property
    def _phase(self) -> Array:
        size = jnp.abs(self.response)
        return jnp.where(size > 0, self.response / jnp.where(size > 0, size, 1.0), 1.0)


def blur(shape: Sequence[int], kernel: ArrayLike, rtol: float = 1e-3) -> Blur:
    """Deblurring: circular convolution of images with `shape` = (H, W, C) with a `kernel` [h, w].

    The center of the kernel is its entry (h // 2, w // 2). `rtol`: frequencies whose response is below this fraction of
    the largest count as not measured, because in float32 and in files they are mostly rounding error, which a
    pseudo-inverse would amplify by 1 / rtol.
    Errors: ValueError if the kernel is not a matrix, or is larger than the image.
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
    """`blur` with a Gaussian of standard deviation `width` in pixels, truncated at four widths and normalized."""
    if width <= 0:
        raise ValueError(f"width = {width}, but a blur needs a positive width in pixels.")

    def weights(length: int) -> np.ndarray:
        radius = min(math.ceil(4 * width), (length - 1) // 2)
        w = np.exp(-0.5 * (np.arange(-radius, radius + 1) / width) ** 2)
        return w / w.sum()

    rows, columns, _ = checked_image(shape)
    return blur(shape, np.outer(weights(rows), weights(columns)), rtol)


def _filtered(x: Array, response: Array) -> Array:
    """Real images [B, H, W, C], filtered: their Fourier transform is multiplied by `response`."""
    return jnp.fft.ifft2(response * jnp.fft.fft2(x, axes=(1, 2)), axes=(1, 2)).real

"""Sums along parallel lines at several angles: computed tomography with parallel beams."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.typing import ArrayLike

from core.arrays import Array
from sampling.inverse.operators.sparse import Rows, Sparse, rows, sparse


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Radon:
    """y(angle, u) = sum_v x(c + u e + v e'), e = (cos, -sin) of the angle in (column, row), e' perpendicular to it.

    x [B, H, W, C]; volumes [B, D, H, W, C] are measured slice by slice. y [B, views, detectors, C], or
    [B, D, views, detectors, C], with max(H, W) detectors, one per pixel. u and v are whole pixels from the center c,
    which is pixel (H // 2, W // 2); x is interpolated linearly, and zero outside of the image. These are the angles and
    the center of scikit-image. See `radon`.
    """

    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    num_views: int = dataclasses.field(metadata={"static": True})
    matrix: Sparse  # [views detectors, H W]
    interpolation: Rows  # [H W, views detectors]: the value of a projection at each pixel

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """(views, detectors, C), or (D, views, detectors, C)."""
        *slices, height, width, channels = self.shape
        return (*slices, self.num_views, max(height, width), channels)

    def measure(self, x: Array) -> Array:
        """The sums along all lines."""
        return _restored(self.matrix.times(_pixels_first(x)), x.shape[0], self.measurement_shape)

    def adjoint(self, y: Array) -> Array:
        """Back projection: every sum, spread along its line with the weights of `measure`."""
        return _restored(self.matrix.transposed_times(_pixels_first(y)), y.shape[0], self.shape)

    def filtered_back_projection(self, y: Array) -> Array:
        """x(c + p) = (pi / views) sum_angles (h * y)(angle, p . e), for angles evenly spaced over half a turn.

        The ramp filter is h(0) = 1 / 4, h(u) = -1 / (pi u)^2 for odd u, and 0 for others; h * y is interpolated
        linearly. Source: Kak and Slaney, "Principles of Computerized Tomographic Imaging", 1988, equation 3.61.
        """
        detectors = self.measurement_shape[-2]
        size = 2 ** math.ceil(math.log2(2 * detectors))
        u = np.fft.fftfreq(size, 1 / size)
        odd = u % 2 == 1
        h = np.where(u == 0, 0.25, np.where(odd, -1 / (np.pi * np.where(odd, u, 1)) ** 2, 0.0))
        response = jnp.asarray(np.fft.rfft(h).real, y.dtype).reshape(*(1,) * (y.ndim - 2), -1, 1)
        filtered = jnp.fft.irfft(response * jnp.fft.rfft(y, size, axis=-2), size, axis=-2)[..., :detectors, :]
        total = self.interpolation.times(_pixels_first(filtered))
        return _restored(total, y.shape[0], self.shape) * (math.pi / self.num_views)


def radon(shape: Sequence[int], angles: int | ArrayLike) -> Radon:
    """Tomography of images (H, W, C) or volumes (D, H, W, C) at `angles` in radians, or a number of them.

    A number of angles is evenly spaced over half a turn.

    Errors: ValueError for series and vectors, and for fewer than one angle.
    """
    if len(shape) < 3:
        raise ValueError(
            f"Tomography is of images (H, W, C) or of the slices of volumes (D, H, W, C), not of {tuple(shape)}."
        )
    values = np.asarray(angles)
    values = np.arange(int(values)) * np.pi / max(int(values), 1) if values.ndim == 0 else values
    if values.ndim != 1 or not len(values):
        raise ValueError(f"angles has shape {values.shape}, but tomography needs one angle or more, [views].")
    height, width = shape[-3:-1]
    views = [_view(height, width, float(angle)) for angle in values]
    places = [_interpolation(height, width, float(angle)) for angle in values]
    interpolation = rows(scipy.sparse.hstack(places, format="csr"))
    return Radon(tuple(shape), len(values), sparse(scipy.sparse.vstack(views, format="csr")), interpolation)


def _view(height: int, width: int, angle: float) -> scipy.sparse.csr_array:
    """The matrix [detectors, H W] of one angle: the weights of linear interpolation, summed along the lines."""
    num, reach = max(height, width), math.ceil(math.hypot(height, width) / 2)
    u, v = np.meshgrid(np.arange(num) - num // 2, np.arange(-reach, reach + 1), indexing="ij")
    y = height // 2 - u * math.sin(angle) + v * math.cos(angle)
    x = width // 2 + u * math.cos(angle) + v * math.sin(angle)
    total = scipy.sparse.csr_array((num, height * width))
    for down, right in itertools.product((0, 1), repeat=2):
        i, j = np.floor(y).astype(int) + down, np.floor(x).astype(int) + right
        weights = (1 - np.abs(y - i)) * (1 - np.abs(x - j))
        inside = (i >= 0) & (i < height) & (j >= 0) & (j < width) & (weights > 1e-9)
        places = (u[inside] + num // 2, i[inside] * width + j[inside])
        total = total + scipy.sparse.coo_array((weights[inside], places), total.shape).tocsr()
    return total


def _interpolation(height: int, width: int, angle: float) -> scipy.sparse.csr_array:
    """The matrix [H W, detectors] of one angle: the weights of the two detectors next to p . e of each pixel."""
    num = max(height, width)
    row, column = np.mgrid[:height, :width].reshape(2, -1)
    u = (column - width // 2) * math.cos(angle) - (row - height // 2) * math.sin(angle) + num // 2
    total = scipy.sparse.csr_array((height * width, num))
    for right in (0, 1):
        j = np.floor(u).astype(int) + right
        inside = (j >= 0) & (j < num)
        pixels = np.flatnonzero(inside)
        total = total + scipy.sparse.coo_array(((1 - np.abs(u - j))[inside], (pixels, j[inside])), total.shape).tocsr()
    return total


def _pixels_first(x: Array) -> Array:
    """[B, ..., P, Q, C] as [P Q, B ... C]."""
    slices = jnp.moveaxis(x.reshape(-1, *x.shape[-3:]), 0, 2)
    return slices.reshape(slices.shape[0] * slices.shape[1], -1)


def _restored(pixels: Array, num: int, shape: tuple[int, ...]) -> Array:
    """The inverse of `_pixels_first`, to [num, *shape]."""
    slices = jnp.moveaxis(pixels.reshape(*shape[-3:-1], -1, shape[-1]), 2, 0)
    return slices.reshape(num, *shape)

"""Fourier coefficients of an image seen by several coils, each with its own sensitivity: parallel MRI."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from core.arrays import Array
from sampling.inverse.operators.base import checked_sides, fitted_mask, spatial_axes
from sampling.inverse.operators.channels import to_channels, to_complex


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sense:
    """y_c = M F (s_c x) for every coil c: s_c is its sensitivity, F the unitary Fourier transform, M the mask.

    x [B, *sides, 2] is complex (see `channels`), or [B, *sides, 1] is real. y [B, *sides, coils] is complex, in the
    order of `fftn` (zero frequency first), and zero where nothing is known. No singular values are known. See `sense`.

    Source: Pruessmann et al., "SENSE: Sensitivity Encoding for Fast MRI", MRM 42, 1999.
    """

    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    coil_maps: Array  # complex64 [*sides, coils]
    known: Array  # bool, [1 or B, *sides, 1]

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """(*sides, coils)."""
        return tuple(self.coil_maps.shape)

    def measure(self, x: Array) -> Array:
        """The coefficients that each coil sees."""
        z = to_complex(x) if self.shape[-1] == 2 else x
        return jnp.where(self.known, jnp.fft.fftn(self.coil_maps[None] * z, axes=spatial_axes(x), norm="ortho"), 0.0)

    def adjoint(self, y: Array) -> Array:
        """The sum of the coils' zero-filled images, each times its conjugate sensitivity."""
        images = jnp.fft.ifftn(jnp.where(self.known, y, 0.0), axes=spatial_axes(y), norm="ortho")
        z = jnp.sum(self.coil_maps[None].conj() * images, axis=-1, keepdims=True)
        return to_channels(z) if self.shape[-1] == 2 else z.real

    def combine(self, y: Array) -> Array:
        """The adjoint divided by sum |s_c|^2: the zero-filled image, zero where no coil sees anything."""
        power = jnp.sum(jnp.abs(self.coil_maps[None]) ** 2, axis=-1, keepdims=True)
        return self.adjoint(y) / jnp.where(power > 0, power, 1.0)


def sense(shape: Sequence[int], coil_maps: ArrayLike, known: ArrayLike) -> Sense:
    """Parallel MRI of images or volumes with `shape` = (*sides, 2), complex, or (*sides, 1), real.

    `coil_maps`: complex sensitivities [*sides, coils]. `known`: nonzero for the coefficients measured, [*sides, 1] or
    [B, *sides, 1], in the order of `fftn`.
    Errors: ValueError if the shapes do not match.
    """
    sides = checked_sides(shape)
    maps = np.asarray(coil_maps)
    if shape[-1] > 2:
        raise ValueError(f"Parallel MRI is of one real or two (complex) channels, but the shape is {tuple(shape)}.")
    if maps.ndim != len(shape) or maps.shape[:-1] != sides or not maps.shape[-1]:
        raise ValueError(
            f"The coil maps have shape {maps.shape}, but examples of shape {tuple(shape)} need "
            f"({', '.join(map(str, sides))}, coils)."
        )
    return Sense(tuple(shape), jnp.asarray(maps, jnp.complex64), fitted_mask((*sides, 1), known))


def simulated_coils(sides: Sequence[int], num: int) -> np.ndarray:
    """Smooth sensitivities [*sides, num] complex64 of coils around the example, with sum |s_c|^2 = 1 everywhere.

    Coil c is in the direction 2 pi c / num in the plane of the last two sides, outside of it (for a series: along it);
    before the sum is scaled, |s_c| is a Gaussian of the distance, and the phase grows linearly towards the coil.
    """
    axes = [(2 * np.arange(side) + 1) / side - 1 for side in sides]
    positions = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    angles = 2 * np.pi * np.arange(num) / num
    places = np.zeros((num, len(sides)))
    places[:, -1] = 1.2 * np.cos(angles)
    if len(sides) > 1:
        places[:, -2] = 1.2 * np.sin(angles)
    square_distances = np.sum((positions[..., None, :] - places) ** 2, axis=-1)
    maps = np.exp(-square_distances / 2 + 1j * (positions @ places.T + angles))
    return (maps / np.linalg.norm(maps, axis=-1, keepdims=True)).astype(np.complex64)

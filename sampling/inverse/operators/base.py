"""Linear measurements y = A x + noise, each through its singular value decomposition A = U S V^T.

The operators of imaging have a cheap orthonormal transform V^T that makes A element-wise. An operator provides that
transform, its singular values (zero: not measured) and U, which maps coordinates to the natural form of y: a small
image, a grayscale image, Fourier coefficients. Everything else is written once, here. x is [B, *shape], y is
[B, *measurement_shape], and there are as many coordinates as numbers in x. U is orthonormal on what is measured, so
white noise of y is white noise of its coordinates. Operators are pytrees: jitted functions take them as arguments.
"""

import abc
import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike

from core.arrays import Array, broadcast_to_rank


@dataclasses.dataclass(frozen=True)
class Operator(abc.ABC):
    """A linear map A = U S V^T of x [B, *shape] with a cheap V; a subclass defines S, V, U and the shape of y.

    Errors: ValueError if the shape of x or y is not that of the operator.
    """

    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    @property
    @abc.abstractmethod
    def singular_values(self) -> Array:
        """S >= 0, with the rank of coordinates and broadcastable to them; 0 where nothing is measured."""

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """Shape of a measurement in its natural form, without the batch axis."""
        return self.shape

    @abc.abstractmethod
    def to_basis(self, x: Array) -> Array:
        """V^T x: orthonormal coordinates of x [B, *shape]."""

    @abc.abstractmethod
    def from_basis(self, c: Array) -> Array:
        """V c: x [B, *shape] from its coordinates."""

    @abc.abstractmethod
    def to_spectrum(self, y: Array) -> Array:
        """U^T y: coordinates of a measurement; meaningless where S = 0."""

    @abc.abstractmethod
    def from_spectrum(self, c: Array) -> Array:
        """U c: the measurement with coordinates c, ignoring those where S = 0."""

    def measure(self, x: Array) -> Array:
        """A x = U S V^T x: [B, *measurement_shape]."""
        return self.from_spectrum(self.singular_values * self.to_basis(x))

    def adjoint(self, y: Array) -> Array:
        """A^T y = V S U^T y: [B, *shape]."""
        return self.from_basis(self.singular_values * self.coordinates(y))

    def observe(self, z: Array, x: Array, noise_std: Array | float) -> Array:
        """A x + noise of standard deviation `noise_std` (scalar or [B]), from standard normal noise z [B, *shape]."""
        c = self.to_basis(x)
        return self.from_spectrum(
            self.singular_values * c + broadcast_to_rank(jnp.asarray(noise_std), c) * self.to_basis(z)
        )

    def pseudo_inverse(self, y: Array) -> Array:
        """A^+ y = V S^+ U^T y: the least-squares solution x [B, *shape] of smallest norm."""
        return self.from_basis(self.estimate(y))

    def invert(self, y: Array, prior_var: Array | float, noise_var: Array | float) -> Array:
        """(prior_var A A^T + noise_var I)^-1 y within the range of A; variances are scalars or [B]."""
        return self.from_spectrum(self.gain(prior_var, noise_var) * self.coordinates(y))

    @property
    def measured(self) -> Array:
        """Which coordinates are measured, S > 0: bool, with the shape of `singular_values`."""
        return self.singular_values > 0

    def coordinates(self, y: Array) -> Array:
        """U^T y of a measurement [B, *measurement_shape], zero where nothing is measured."""
        if y.shape[1:] != self.measurement_shape:
            raise ValueError(
                f"The measurement has shape {y.shape}, but this operator produces [B, *{self.measurement_shape}]."
            )
        return jnp.where(self.measured, self.to_spectrum(y), 0.0)

    def estimate(self, y: Array) -> Array:
        """S^+ U^T y: the coordinates of x that a measurement implies, zero where nothing is measured."""
        return self.coordinates(y) / jnp.where(self.measured, self.singular_values, 1.0)

    def gain(self, prior_var: Array | float, noise_var: Array | float) -> Array:
        """1 / (prior_var S^2 + noise_var) on what is measured, else 0; variances are scalars or [B]."""
        s = self.singular_values
        total = broadcast_to_rank(jnp.asarray(prior_var), s) * s**2 + broadcast_to_rank(jnp.asarray(noise_var), s)
        return jnp.where(s > 0, 1 / jnp.where(s > 0, total, 1.0), 0.0)

    def _checked(self, x: Array) -> Array:
        if x.shape[1:] != self.shape:
            raise ValueError(f"x has shape {x.shape}, but this operator measures [B, *{self.shape}].")
        return x


def checked_image(shape: Sequence[int]) -> tuple[int, int, int]:
    """(H, W, C). Errors: ValueError unless `shape` has three axes."""
    if len(shape) != 3:
        raise ValueError(f"This operator measures images of shape (H, W, C), not {tuple(shape)}.")
    return shape[0], shape[1], shape[2]


def fitted_mask(shape: tuple[int, ...], known: ArrayLike) -> Array:
    """`known` as bool [1 or B, ...] that broadcasts to x [B, *shape]. Errors: ValueError if it does not."""
    known = jnp.asarray(known) != 0
    if known.ndim == len(shape):
        known = known[None]
    if known.ndim != len(shape) + 1 or any(n not in (1, m) for n, m in zip(known.shape[1:], shape, strict=True)):
        raise ValueError(f"The mask has shape {known.shape}, which does not fit x of shape [B, *{shape}].")
    return known

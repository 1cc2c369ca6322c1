"""Linear measurements y = A x + noise, each by its singular value decomposition A = U S V^T.

The operators of imaging have a cheap orthonormal transform V^T, under which A is element-wise. An operator gives that
transform, its singular values (zero: not measured) and U, which leads from coordinates to the natural form of y: a
small image, a grey image, Fourier coefficients. All else, written once, follows. x is [B, *shape], y is
[B, *measurement_shape], coordinates have as many numbers as x. U is orthonormal on what is measured, so that white
noise of y is white noise of its coordinates. Operators are pytrees: a jitted function takes them as arguments.
"""

import abc
import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from core.arrays import Array, broadcast_to_rank


@dataclasses.dataclass(frozen=True)
class Operator(abc.ABC):
    """A linear map A = U S V^T of x [B, *shape] with a cheap V; a concrete class gives S, V, U and the shape of y.

    Errors: ValueError where x or y has another shape than the operator's.
    """

    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    @property
    @abc.abstractmethod
    def singular_values(self) -> Array:
        """S >= 0, of the rank of coordinates and broadcastable to them; 0 where nothing is measured."""

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """Shape of a measurement in its natural form, without the batch axis."""
        return self.shape

    @abc.abstractmethod
    def to_basis(self, x: Array) -> Array:
        """V^T x: orthonormal coordinates of x [B, *shape]."""

    @abc.abstractmethod
    def from_basis(self, c: Array) -> Array:
        """V c: the x [B, *shape] of these coordinates."""

    @abc.abstractmethod
    def to_spectrum(self, y: Array) -> Array:
        """U^T y: coordinates of a measurement; what they are where S = 0 has no meaning."""

    @abc.abstractmethod
    def from_spectrum(self, c: Array) -> Array:
        """U c: the measurement of coordinates c, of which those where S = 0 are ignored."""

    def measure(self, x: Array) -> Array:
        """A x = U S V^T x: [B, *measurement_shape]."""
        return self.from_spectrum(self.singular_values * self.to_basis(x))

    def adjoint(self, y: Array) -> Array:
        """A^T y = V S U^T y: [B, *shape]."""
        return self.from_basis(self.singular_values * self.coordinates(y))

    def observe(self, z: Array, x: Array, noise_std: Array | float) -> Array:
        """A x + noise of `noise_std` (scalar or [B]), made of standard normal noise z, like x [B, *shape]."""
        c = self.to_basis(x)
        return self.from_spectrum(
            self.singular_values * c + broadcast_to_rank(jnp.asarray(noise_std), c) * self.to_basis(z)
        )

    def pseudo_inverse(self, y: Array) -> Array:
        """A^+ y = V S^+ U^T y: the smallest x [B, *shape] that explains y best."""
        return self.from_basis(self.estimate(y))

    def invert(self, y: Array, prior_var: Array | float, noise_var: Array | float) -> Array:
        """(prior_var A A^T + noise_var I)^-1 y within the range of A; variances are scalars or [B]."""
        return self.from_spectrum(self.gain(prior_var, noise_var) * self.coordinates(y))

    @property
    def measured(self) -> Array:
        """Which coordinates are measured, S > 0: bool, of the shape of `singular_values`."""
        return self.singular_values > 0

    def coordinates(self, y: Array) -> Array:
        """U^T y of a measurement [B, *measurement_shape], zero where nothing is measured."""
        if y.shape[1:] != self.measurement_shape:
            raise ValueError(
                f"The measurement has shape {y.shape}, but this operator gives [B, *{self.measurement_shape}]."
            )
        return jnp.where(self.measured, self.to_spectrum(y), 0.0)

    def estimate(self, y: Array) -> Array:
        """S^+ U^T y: what a measurement says of the coordinates of x, zero where it says nothing."""
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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mask(Operator):
    """Some entries of x: V = U = I, S = 1 where known; y is x with zeros for what is not known. See `mask`."""

    known: Array  # bool, [1 or B, ...], broadcastable to x

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
        """The coordinates, with zeros for what is not known."""
        return jnp.where(self.known, c, 0.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dense(Operator):
    """A matrix A [M, D], applied to x flattened to [B, D]; y is [B, M]. See `dense`."""

    U: Array  # [M, R], R = min(M, D)
    s: Array  # [R]
    Vt: Array  # [D, D], the right singular vectors and then a basis of the rest

    @property
    def singular_values(self) -> Array:
        """S [1, D], filled with zeros."""
        return jnp.pad(self.s, (0, self.Vt.shape[0] - self.s.shape[0]))[None]

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """(M,)."""
        return (self.U.shape[0],)

    def to_basis(self, x: Array) -> Array:
        """V^T x."""
        return jnp.matmul(self._checked(x).reshape(x.shape[0], -1), self.Vt.T, precision="highest")

    def from_basis(self, c: Array) -> Array:
        """V c."""
        return jnp.matmul(c, self.Vt, precision="highest").reshape(-1, *self.shape)

    def to_spectrum(self, y: Array) -> Array:
        """U^T y, filled with zeros."""
        c = jnp.matmul(y, self.U, precision="highest")
        return jnp.pad(c, ((0, 0), (0, self.Vt.shape[0] - c.shape[1])))

    def from_spectrum(self, c: Array) -> Array:
        """U c."""
        c = jnp.where(self.measured, c, 0.0)[:, : self.s.shape[0]]
        return jnp.matmul(c, self.U.T, precision="highest")


def mask(shape: Sequence[int], known: ArrayLike) -> Mask:
    """Inpainting: the entries of x [B, *shape] where `known` is not zero.

    `known`: [*shape] or, one for each example, [B, *shape]; axes of length 1 (such as the channels of [H, W, 1]) count
    for all. Errors: ValueError where it does not fit.
    """
    return Mask(tuple(shape), fitted_mask(tuple(shape), known))


def dense(shape: Sequence[int], matrix: ArrayLike, rtol: float = 1e-6) -> Dense:
    """Any matrix A [M, D] on x [B, *shape] of D numbers, decomposed here, once.

    `rtol`: singular values below this part of the largest count as zero. Errors: ValueError where D is another.
    """
    A = np.asarray(matrix)
    if A.ndim != 2 or A.shape[1] != math.prod(shape):
        raise ValueError(f"The matrix has shape {A.shape}, but x {tuple(shape)} needs [M, {math.prod(shape)}].")
    U, s, Vt = np.linalg.svd(A.astype(np.float64))
    s = np.where(s > rtol * s.max(initial=0.0), s, 0.0)
    return Dense(tuple(shape), *(jnp.asarray(part, jnp.float32) for part in (U[:, : len(s)], s, Vt)))


def fitted_mask(shape: tuple[int, ...], known: ArrayLike) -> Array:
    """`known` as bool [1 or B, ...] that broadcasts to x [B, *shape]. Errors: ValueError where it does not."""
    known = jnp.asarray(known) != 0
    if known.ndim == len(shape):
        known = known[None]
    if known.ndim != len(shape) + 1 or any(n not in (1, m) for n, m in zip(known.shape[1:], shape, strict=True)):
        raise ValueError(f"The mask has shape {known.shape}, which does not fit x of shape [B, *{shape}].")
    return known

"""Linear measurements y = A x + noise of examples of any rank: by A and its adjoint, or by singular values.

x is [B, *shape], real; y is [B, *measurement_shape], real or complex. Operators are pytrees: jitted functions take them
as arguments.
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from core.arrays import Array, broadcast_to_rank
from core.keys import draw_normal


class LinearOperator(Protocol):
    """A linear map A that is known by its products with x and with y.

    The adjoint is that of the real inner product, <A x, y> = <x, A^T y> with <a, b> = Re sum conj(a) b (see `inner`),
    so x is real for complex y, too.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of x, without the batch axis."""
        ...

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """Shape of y, without the batch axis."""
        ...

    def measure(self, x: Array) -> Array:
        """A x: [B, *measurement_shape] from [B, *shape]."""
        ...

    def adjoint(self, y: Array) -> Array:
        """A^T y: [B, *shape] from [B, *measurement_shape]."""
        ...


def inner(a: Array, b: Array) -> Array:
    """The real inner product Re sum conj(a) b of each example: [B] from [B, ...], real or complex."""
    return jnp.sum((a.conj() * b).real, axis=tuple(range(1, a.ndim)))


def is_complex(operator: LinearOperator) -> bool:
    """Whether measurements are complex."""
    x = jax.ShapeDtypeStruct((1, *operator.shape), jnp.float32)
    return jnp.issubdtype(jax.eval_shape(operator.measure, x).dtype, jnp.complexfloating)


@dataclasses.dataclass(frozen=True)
class SpectralOperator(abc.ABC):
    """A linear operator A = U S V^T with a cheap V; a subclass defines S, V, U and the shape of y.

    The operators of imaging have an orthonormal transform V^T that makes A element-wise. A subclass provides that
    transform, the singular values (zero: not measured) and U, which maps coordinates to the natural form of y: a small
    image, a grayscale image, Fourier coefficients. Everything else is written once, here. There are at least as many
    coordinates as numbers in x, with V V^T x = x, so V^T keeps norms. U is orthonormal on what is measured, so white
    noise of y is white noise of its coordinates.

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

    def residual(self, y: Array, x: Array) -> Array:
        """U^T (y - A x): the coordinates of what x does not explain, zero where nothing is measured."""
        return self.coordinates(y) - self.singular_values * self.to_basis(x)

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


def of_examples(operator: LinearOperator, rows: np.ndarray) -> LinearOperator:
    """The operator of the examples `rows` [n]: its method of this name, where each may have one of its own."""
    chosen = getattr(operator, "of_examples", None)
    return operator if chosen is None else chosen(rows)


def largest_singular_value(operator: LinearOperator, num_iterations: int = 20) -> Array:
    """max(S): exact for a `SpectralOperator`; for others from below, [1 or B], by power iterations with A^T A.

    Source: Golub and Van Loan, "Matrix Computations", 4th edition, section 8.2.1.
    """
    if isinstance(operator, SpectralOperator):
        return jnp.max(operator.singular_values)

    def step(_: Array, v: Array) -> Array:
        v = operator.adjoint(operator.measure(v))
        return v / broadcast_to_rank(jnp.maximum(jnp.sqrt(inner(v, v)), 1e-30), v)

    start = np.random.default_rng(0).normal(size=(1, *operator.shape))  # has a part along every singular vector
    v = jax.lax.fori_loop(0, num_iterations, step, step(jnp.zeros(()), jnp.asarray(start, jnp.float32)))
    Av = operator.measure(v)
    return jnp.sqrt(inner(Av, Av))


def observe(operator: LinearOperator, keys: Array, x: Array, noise_std: Array | float) -> Array:
    """A x + white noise of standard deviation `noise_std` (scalar or [B]), from a key per example (`keys` [B]).

    The noise is white in the real inner product: real and imaginary parts each have that standard deviation. That of a
    `SpectralOperator` is within the range of A.
    """
    if isinstance(operator, SpectralOperator):
        return operator.observe(draw_normal(keys, x.shape), x, noise_std)
    y = operator.measure(x)
    z = draw_normal(keys, (*y.shape, 2) if jnp.iscomplexobj(y) else y.shape)
    return y + broadcast_to_rank(jnp.asarray(noise_std), y) * (z[..., 0] + 1j * z[..., 1] if jnp.iscomplexobj(y) else z)


def spatial_axes(x: Array) -> tuple[int, ...]:
    """The axes of series [B, L, C], images [B, H, W, C] or volumes [B, D, H, W, C] between the first and the last."""
    return tuple(range(1, x.ndim - 1))


def checked_sides(shape: Sequence[int]) -> tuple[int, ...]:
    """The sides (L,), (H, W) or (D, H, W) of `shape`, which has channels last. Errors: ValueError for a vector (D,)."""
    if len(shape) < 2:
        raise ValueError(
            f"This operator measures series (L, C), images (H, W, C) or volumes (D, H, W, C), not {tuple(shape)}."
        )
    return tuple(shape[:-1])


def fitted_mask(shape: tuple[int, ...], known: ArrayLike) -> Array:
    """`known` as bool [1 or B, ...] that broadcasts to x [B, *shape]. Errors: ValueError if it does not."""
    known = jnp.asarray(known) != 0
    if known.ndim == len(shape):
        known = known[None]
    if known.ndim != len(shape) + 1 or any(n not in (1, m) for n, m in zip(known.shape[1:], shape, strict=True)):
        raise ValueError(f"The mask has shape {known.shape}, which does not fit x of shape [B, *{shape}].")
    return known

"""The singular value decomposition of small operators that are known by their products alone."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from sampling.inverse.operators.base import LinearOperator, SpectralOperator, is_complex

LARGEST = 2048  # of the smaller side of a matrix whose decomposition is computed: about ten seconds of one core
LARGEST_MATRIX = 2**24  # numbers in it: 128 MiB in float64
RTOL = 1e-5  # float32 does not resolve smaller parts of a measurement
NUM_AT_ONCE = 64  # rows or columns of a matrix that are computed together
NUM_KEPT = 2  # decompositions in the memory of a process

Found = TypeVar("Found", bound="Decomposed")
Decompose = Callable[[Any, float], Found]  # (operator, rtol) -> the operator with its decomposition


@dataclasses.dataclass(frozen=True)
class Decomposed(SpectralOperator):
    """An operator A whose decomposition was computed: a subclass has U, S and V^T.

    The products with A remain those of the operator, whose rounding errors are smaller.
    """

    operator: LinearOperator

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """That of the operator."""
        return tuple(self.operator.measurement_shape)

    def measure(self, x: Array) -> Array:
        """A x, by the operator."""
        return self.operator.measure(self._checked(x))

    def adjoint(self, y: Array) -> Array:
        """A^T y, by the operator."""
        return self.operator.adjoint(y)

    def residual(self, y: Array, x: Array) -> Array:
        """U^T (y - A x); the difference is taken first, so that the errors of U are relative to it."""
        return self.coordinates(y - self.measure(x))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Factored(Decomposed):
    """An operator A and its decomposition U S V^T, where U and V have a column for each singular value.

    The coordinates of x are V^T x [R] and what V does not span, x - V V^T x [D], which is not measured: more numbers
    than x has, but norms and inner products are those of x. U^T y is that of the real numbers of y [M], for complex
    measurements all real parts and then all imaginary parts. See `factored`.
    """

    U: Array  # [M, R], R = min(M, D)
    s: Array  # [R]
    Vt: Array  # [R, D]

    @property
    def singular_values(self) -> Array:
        """S [1, R + D]: zeros for what V does not span."""
        return jnp.pad(self.s, (0, self.Vt.shape[1]))[None]

    def to_basis(self, x: Array) -> Array:
        """V^T x, and x - V V^T x."""
        flat = self._checked(x).reshape(x.shape[0], -1)
        c = jnp.matmul(flat, self.Vt.T, precision="highest")
        return jnp.concatenate([c, flat - jnp.matmul(c, self.Vt, precision="highest")], axis=1)

    def from_basis(self, c: Array) -> Array:
        """V c, and the rest of x."""
        c, rest = jnp.split(c, [len(self.s)], axis=1)
        return (jnp.matmul(c, self.Vt, precision="highest") + rest).reshape(-1, *self.shape)

    def to_spectrum(self, y: Array) -> Array:
        """U^T y, and zeros."""
        c = jnp.matmul(to_reals(y), self.U, precision="highest")
        return jnp.pad(c, ((0, 0), (0, self.Vt.shape[1])))

    def from_spectrum(self, c: Array) -> Array:
        """U c."""
        c = jnp.where(self.measured, c, 0.0)[:, : len(self.s)]
        return from_reals(jnp.matmul(c, self.U.T, precision="highest"), self.operator)


def factored(operator: LinearOperator, rtol: float = RTOL) -> Factored:
    """An operator, known by its products, with its singular value decomposition, computed here in float64.

    `rtol`: singular values below this fraction of the largest count as zero. See `kept`.
    """
    return kept(_factored, operator, rtol)


def kept(decompose: Decompose[Found], operator: Any, rtol: float) -> Found:
    """`decompose(operator, rtol)`. The last results are kept: for an equal operator, nothing is computed."""
    leaves, structure = jax.tree.flatten(operator)
    arrays = [np.asarray(leaf) for leaf in leaves]
    digests = tuple((a.shape, a.dtype, hashlib.sha256(a.tobytes()).digest()) for a in arrays)
    found: Found = _kept(_ByValue((structure, digests, rtol), operator, rtol), decompose)
    return found


def is_small(operator: LinearOperator) -> bool:
    """Whether to decompose an operator, which takes seconds and memory that grow with its size.

    It must be the same for all examples: A x of one example has the first axis 1.
    """
    y = jax.eval_shape(operator.measure, jax.ShapeDtypeStruct((1, *operator.shape), jnp.float32))
    sides = _num_reals(operator), math.prod(operator.shape)
    return y.shape[0] == 1 and min(sides) <= LARGEST and math.prod(sides) <= LARGEST_MATRIX


def matrix_of(operator: LinearOperator) -> np.ndarray:
    """A [M, D] in float64, M counting real numbers: from A^T of each unit vector, or from A where D is less than M."""
    M, D = _num_reals(operator), math.prod(operator.shape)
    num = min(M, D)
    blocks = -(-num // NUM_AT_ONCE)
    units = np.eye(blocks * NUM_AT_ONCE, num, dtype=np.float32).reshape(blocks, NUM_AT_ONCE, num)

    @jax.jit
    def products(operator: LinearOperator, units: Array) -> Array:
        def rows(units: Array) -> Array:
            return operator.adjoint(from_reals(units, operator)).reshape(NUM_AT_ONCE, D)

        def columns(units: Array) -> Array:
            return to_reals(operator.measure(units.reshape(NUM_AT_ONCE, *operator.shape)))

        return jax.lax.map(rows if M <= D else columns, units)

    found = np.asarray(products(operator, units), np.float64).reshape(blocks * NUM_AT_ONCE, -1)[:num]
    return found if M <= D else found.T


def decomposition(matrix: np.ndarray, rtol: float) -> tuple[Array, Array, Array]:
    """U, S and V^T of a matrix in float32; S is zero below `rtol` of the largest."""
    U, s, Vt = np.linalg.svd(matrix, full_matrices=False)
    s = np.where(s > rtol * s.max(initial=0.0), s, 0.0)
    return jnp.asarray(U, jnp.float32), jnp.asarray(s, jnp.float32), jnp.asarray(Vt, jnp.float32)


def to_reals(y: Array) -> Array:
    """The real numbers [B, M] of measurements: all real parts, then all imaginary parts."""
    flat = y.reshape(y.shape[0], -1)
    return jnp.concatenate([flat.real, flat.imag], axis=1) if jnp.iscomplexobj(y) else flat


def from_reals(numbers: Array, operator: LinearOperator) -> Array:
    """The measurements [B, *measurement_shape] with the real numbers [B, M]."""
    if is_complex(operator):
        real, imaginary = jnp.split(numbers, 2, axis=1)
        numbers = jax.lax.complex(real, imaginary)
    return numbers.reshape(-1, *operator.measurement_shape)


@dataclasses.dataclass(frozen=True)
class _ByValue:
    """An operator that equals others with the same numbers."""

    key: Hashable
    operator: Any = dataclasses.field(compare=False)
    rtol: float = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=NUM_KEPT)
def _kept(value: _ByValue, decompose: Decompose[Any]) -> Any:
    return decompose(value.operator, value.rtol)


def _factored(operator: LinearOperator, rtol: float) -> Factored:
    return Factored(tuple(operator.shape), operator, *decomposition(matrix_of(operator), rtol))


def _num_reals(operator: LinearOperator) -> int:
    """M: the real numbers of a measurement."""
    return math.prod(operator.measurement_shape) * (2 if is_complex(operator) else 1)

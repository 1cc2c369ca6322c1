"""Estimators of the divergence of a vector field, computed together with the field in as few passes as possible.

An estimator stores its probes, which are therefore fixed for a whole solve, and is called with the field at one time:

    (field, x [B, ...]) -> field(x) [B, ...], independent unbiased estimates of div field(x) [K, B]

The field must act on each example independently. Every array of an estimator is [K, B, ...]; it is converted to the
data type of x.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Protocol

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.keys import fold_in

Field = Callable[[Array], Array]  # x [B, ...] -> v [B, ...]


class Divergence(Protocol):
    """The interface of an estimator, which is also a pytree of its arrays."""

    def __call__(self, field: Field, x: Array) -> tuple[Array, Array]:
        """The field [B, ...] and K estimates of its divergence [K, B]."""
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Exact:
    """The exact trace, from one Jacobian-vector product for each of D unit vectors in a single pass; K = 1.

    div v = sum_i e_i . (dv/dx) e_i

    Errors: ValueError for D > `limit`, because time and memory are those of D evaluations of the field.
    """

    limit: int = dataclasses.field(default=1024, metadata={"static": True})

    def __call__(self, field: Field, x: Array) -> tuple[Array, Array]:
        """The field [B, ...] and its divergence [1, B]."""
        num_dims = math.prod(x.shape[1:])
        if num_dims > self.limit:
            raise ValueError(
                f"The exact divergence needs a product for each of {num_dims} dimensions, more than limit = "
                f"{self.limit}; use hutchinson or hutchpp with several probes, or raise the limit."
            )
        units = jnp.eye(num_dims, dtype=x.dtype).reshape(num_dims, 1, *x.shape[1:])
        value, diagonal = _products(field, x, jnp.broadcast_to(units, (num_dims, *x.shape)))
        return value, jnp.sum(diagonal, axis=0, keepdims=True)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Hutchinson:
    """An estimate for each probe: `div v ~ epsilon . (dv/dx) epsilon`, unbiased if E[epsilon epsilon^T] = I.

    `probes` [K, B, ...]. The field is evaluated once for all probes.
    Source: Hutchinson 1990; Grathwohl et al. 2019 (FFJORD); Song et al. 2021, equation 40.
    """

    probes: Array

    def __call__(self, field: Field, x: Array) -> tuple[Array, Array]:
        """The field [B, ...] and an estimate of its divergence for each probe [K, B]."""
        return _products(field, x, self.probes.astype(x.dtype))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HutchPlusPlus:
    """Exact on a subspace Q, found for each example by a sketch, plus Hutchinson's estimate on the complement of Q.

        Q = orth((J - c I) S),   div v ~ tr(Q^T J Q) + (D - K) r . J r / |r|^2,   r = (I - Q Q^T) g,   J = dv/dx

    `sketch` S and `probes` g, both [K, B, ...], need 3 K products: K to find Q, K on Q and one for each g. Given Q, the
    estimates of the K probes are independent and unbiased. `probes` must be Gaussian, so that r / |r| is uniform.
    Source: Meyer et al., "Hutch++: Optimal Stochastic Trace Estimation", SOSA 2021, algorithm 1; r / |r| as in
    Epperly, Tropp and Webber, "XTrace", 2024.
    Notes: both changes to Hutch++ are for Jacobians that are a multiple of the identity plus a matrix of low rank, such
    as those of a probability flow: c = S . J S / S . S keeps the multiple out of Q, and r / |r| makes it noise-free.
    """

    sketch: Array
    probes: Array

    def __call__(self, field: Field, x: Array) -> tuple[Array, Array]:
        """The field [B, ...] and an estimate of its divergence for each probe [K, B]."""
        value, product = jax.linearize(field, x)
        given = self.sketch.astype(x.dtype)
        change, sketch = (a.reshape(*a.shape[:2], -1) for a in (jax.vmap(product)(given), given))
        multiple = jnp.sum(sketch * change, axis=(0, 2)) / jnp.sum(sketch**2, axis=(0, 2))
        columns = jnp.moveaxis(change - multiple[None, :, None] * sketch, 0, 2)  # [B, D, K]
        basis = jnp.moveaxis(jnp.linalg.qr(columns)[0], 2, 0)
        probes = self.probes.reshape(*self.probes.shape[:2], -1).astype(x.dtype)
        for _ in range(2):  # twice, to remove the rounding error of the first projection
            probes = probes - jnp.einsum("kbd,jbd,jbe->kbe", probes, basis, basis)
        both = jnp.concatenate([basis, probes])
        squares = jnp.sum(both * jax.vmap(product)(both.reshape(-1, *x.shape)).reshape(both.shape), axis=-1)
        size = basis.shape[0]
        rest, left = jnp.sum(probes**2, axis=-1), probes.shape[-1] - size
        if left == 0:
            return value, jnp.broadcast_to(jnp.sum(squares[:size], axis=0)[None], rest.shape)
        return value, jnp.sum(squares[:size], axis=0)[None] + left * squares[size:] / rest


def sample_probes(kind: str, keys: Array, shape: Sequence[int]) -> Array:
    """Probes of `shape` [B, ...] with mean zero and unit covariance; `keys` is one key per example [B], consumed.

    `kind`: "rademacher" (random signs; the smaller variance) or "gaussian".
    Errors: ValueError for another kind, and for another number of keys.
    """
    if kind not in PROBES:
        raise ValueError(f"The kind of probe must be one of {', '.join(PROBES)}, not {kind!r}.")
    if keys.shape != tuple(shape[:1]):
        raise ValueError(f"keys has shape {keys.shape}, but there are {shape[0]} examples: give one key per example.")
    return jax.vmap(lambda key: PROBES[kind](key, tuple(shape[1:])))(keys)


def exact(kind: str, keys: Array, shape: Sequence[int], num_probes: int) -> Exact:
    """The exact divergence, which has no probes and ignores its arguments."""
    del kind, keys, shape, num_probes
    return Exact()


def hutchinson(kind: str, keys: Array, shape: Sequence[int], num_probes: int) -> Hutchinson:
    """Hutchinson's estimator with `num_probes` probes, for x of `shape` [B, ...]; `keys` [B], consumed."""
    if num_probes == 1:
        return Hutchinson(sample_probes(kind, keys, shape)[None])
    return Hutchinson(jnp.stack([sample_probes(kind, fold_in(keys, k), shape) for k in range(num_probes)]))


def hutchpp(kind: str, keys: Array, shape: Sequence[int], num_probes: int) -> HutchPlusPlus:
    """Hutch++ with `num_probes` products in total, a third of them for a sketch of this kind; `keys` [B], consumed.

    Errors: ValueError for fewer than three products.
    """
    if num_probes < 3:
        raise ValueError(
            f"num_probes = {num_probes}, but hutchpp splits them into three parts; use at least 3 (6 for a standard "
            "error), or hutchinson."
        )
    vectors = [
        [sample_probes(name, fold_in(keys, 2 * k + i), shape) for k in range(num_probes // 3)]
        for i, name in enumerate((kind, "gaussian"))
    ]
    return HutchPlusPlus(jnp.stack(vectors[0]), jnp.stack(vectors[1]))


def _products(field: Field, x: Array, probes: Array) -> tuple[Array, Array]:
    """field(x) [B, ...], evaluated once, and `probe . (dv/dx) probe` [K, B] for `probes` [K, B, ...]."""

    def product(probe: Array) -> tuple[Array, Array]:
        value, change = jax.jvp(field, (x,), (probe,))
        return value, jnp.sum(probe * change, axis=tuple(range(1, x.ndim)))

    return jax.vmap(product, out_axes=(None, 0))(probes)


PROBES: dict[str, Callable[..., Array]] = {
    "rademacher": lambda key, shape: jax.random.rademacher(key, shape, jnp.float32),
    "gaussian": jax.random.normal,
}
# (kind of probe, keys [B], shape [B, ...], products per evaluation) -> estimator
DIVERGENCES: dict[str, Callable[[str, Array, Sequence[int], int], Divergence]] = {
    "hutchinson": hutchinson,
    "exact": exact,
    "hutchpp": hutchpp,
}

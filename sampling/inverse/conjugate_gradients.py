"""Conjugate gradients for a linear system of each example."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from sampling.inverse.operators.base import inner

TOLERANCE = 1e-5  # relative residual at which an example stops; about the precision of float32
Linear = Callable[[Array], Array]  # [B, ...] -> [B, ...]


def conjugate_gradients(system: Linear, b: Array, precondition: Linear, num_iterations: int) -> Array:
    """Solves system(u) = b for a linear map of each example [B, ...] that is symmetric and positive semidefinite.

    Both are meant for the real inner product, also where b is complex.
    Takes at most `num_iterations` products with the system. An example stops when its residual is `TOLERANCE` times b,
    or when its system turns out not to be positive (the Jacobian of a network need not be symmetric), and keeps the
    result so far.
    Source: Hestenes and Stiefel, J. Res. Nat. Bur. Standards 49, 1952, section 3; preconditioned.
    """

    def dot(a: Array, b: Array) -> Array:
        return broadcast_to_rank(inner(a, b), a)

    State = tuple[Array, Array, Array, Array, Array, Array]

    def going_on(state: State) -> Array:
        return (state[0] < num_iterations) & jnp.any(state[-1])

    def iterate(state: State) -> State:
        number, u, residual, direction, size, going = state
        moved = system(direction)
        curvature = dot(direction, moved)
        going = going & (curvature > 0)
        alpha = jnp.where(going, size / jnp.where(going, curvature, 1.0), 0.0)
        u, residual = u + alpha * direction, residual - alpha * moved
        z = precondition(residual)
        new_size = dot(residual, z)
        direction = z + jnp.where(going, new_size / jnp.where(size > 0, size, 1.0), 0.0) * direction
        return number + 1, u, residual, direction, new_size, going & (dot(residual, residual) > least)

    z = precondition(b)
    least = TOLERANCE**2 * dot(b, b)
    start = (jnp.zeros((), jnp.int32), jnp.zeros_like(b), b, z, dot(b, z), dot(b, b) > 0)
    return jax.lax.while_loop(going_on, iterate, start)[1]

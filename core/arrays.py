"""The array type, and how a value per example is broadcast to the data of that example."""

import jax
import jax.numpy as jnp

Array = jax.Array


def broadcast_to_rank(a: Array, x: Array) -> Array:
    """Appends singleton axes to `a` [B] (or a scalar) until it broadcasts against `x` [B, ...]."""
    a = jnp.asarray(a)
    return a.reshape(a.shape + (1,) * (x.ndim - a.ndim))

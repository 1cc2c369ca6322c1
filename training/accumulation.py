"""Gradients of a batch, in as many parts as its memory asks for."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from core.arrays import Array
from training.objectives.score_matching import ROW, Batch, LossFn, Metrics, Params

# (params, key, batch) -> ((loss, metrics), gradients)
Gradients = Callable[[Params, Array, Batch], tuple[tuple[Array, Metrics], Params]]


def gradients(loss_fn: LossFn, num_parts: int = 1) -> Gradients:
    """`(params, key, batch) -> ((loss, metrics), gradients)`, all means over `num_parts` parts, one after the other.

    Part j of K has the rows j, j + K, j + 2 K ... of the batch, of which `batch[ROW]` tells the loss: an example has
    its own randomness whatever K is, and every device its share of every part. Memory is that of a part.
    """
    once = jax.value_and_grad(loss_fn, has_aux=True)
    if num_parts == 1:
        return once

    def fn(params: Params, key: Array, batch: Batch) -> tuple[tuple[Array, Metrics], Params]:
        batch = {**batch, ROW: jnp.arange(batch["x"].shape[0])}
        parts = jax.tree.map(
            lambda a: jnp.moveaxis(a.reshape(a.shape[0] // num_parts, num_parts, *a.shape[1:]), 1, 0), batch
        )

        def add(total: Any, part: Batch) -> tuple[Any, None]:
            # Without the barrier XLA might compute all parts at a time where the loop is unrolled.
            total, part = jax.lax.optimization_barrier((total, part))
            return jax.tree.map(jnp.add, total, once(params, key, part)), None

        shapes = jax.eval_shape(once, params, key, jax.tree.map(lambda a: a[0], parts))
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        # XLA's CPU backend runs convolutions inside a loop an order of magnitude slower.
        total, _ = jax.lax.scan(add, zeros, parts, unroll=jax.default_backend() == "cpu")
        return jax.tree.map(lambda a: a / num_parts, total)

    return fn

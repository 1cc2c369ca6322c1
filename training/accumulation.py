"""Gradient accumulation: the gradient of a batch, computed in parts to save memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from core.arrays import Array
from training.objectives.score_matching import ROW, Batch, LossFn, Metrics, Params

# (params, key, batch) -> ((loss, metrics), gradients)
Gradients = Callable[[Params, Array, Batch], tuple[tuple[Array, Metrics], Params]]


def gradients(loss_fn: LossFn, num_parts: int = 1) -> Gradients:
    """`(params, key, batch) -> ((loss, metrics), gradients)`, all averaged over `num_parts` parts, one after the other.

    Part j of K has the rows j, j + K, j + 2 K, ... of the batch, which the loss finds in `batch[ROW]`. So the random
    numbers of an example do not depend on K, and every device has its share of every part. The memory is that of one
    part.
    """
    gradients_of_part = jax.value_and_grad(loss_fn, has_aux=True)
    if num_parts == 1:
        return gradients_of_part

    def gradients_of_batch(params: Params, key: Array, batch: Batch) -> tuple[tuple[Array, Metrics], Params]:
        batch = {**batch, ROW: jnp.arange(batch["x"].shape[0])}
        parts = jax.tree.map(
            lambda a: jnp.moveaxis(a.reshape(a.shape[0] // num_parts, num_parts, *a.shape[1:]), 1, 0), batch
        )

        def add(total: Any, part: Batch) -> tuple[Any, None]:
            # Without the barrier XLA may compute all parts at once where the loop is unrolled.
            total, part = jax.lax.optimization_barrier((total, part))
            return jax.tree.map(jnp.add, total, gradients_of_part(params, key, part)), None

        shapes = jax.eval_shape(gradients_of_part, params, key, jax.tree.map(lambda a: a[0], parts))
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        # XLA's CPU backend runs convolutions inside a loop an order of magnitude slower.
        total, _ = jax.lax.scan(add, zeros, parts, unroll=jax.default_backend() == "cpu")
        return jax.tree.map(lambda a: a / num_parts, total)

    return gradients_of_batch

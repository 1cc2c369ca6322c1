"""Gradient accumulation: the gradient of a batch, computed in parts to save memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.target import platform
from training.objectives.base import ROW, Aux, Batch, LossFn, Params, Variables

Value = tuple[tuple[Array, Aux], Params]  # ((loss, (metrics, collections)), gradients)
Gradients = Callable[[Variables, Array, Batch, Array], Value]  # (variables, key, batch, step) -> value


def gradients(loss_fn: LossFn, num_parts: int = 1) -> Gradients:
    """`(variables, key, batch, step) -> ((loss, (metrics, collections)), gradients)`, by the parameters.

    All are averaged over `num_parts` parts, one after the other. Part j of K has the rows j, j + K, j + 2 K, ... of the
    batch, which the loss finds in `batch[ROW]`. So the random numbers of an example do not depend on K, and every
    device has its share of every part. The memory is that of one part. Every part begins with the collections of the
    step before: what is linear in means over the batch does not depend on K either. Of integers, such as counts, the
    changes are added up instead.
    """

    def gradients_of_part(variables: Variables, key: Array, batch: Batch, step: Array) -> Value:
        def loss_of(params: Params) -> tuple[Array, Aux]:
            return loss_fn({**variables, "params": params}, key, batch, step)

        return jax.value_and_grad(loss_of, has_aux=True)(variables["params"])

    if num_parts == 1:
        return gradients_of_part

    def gradients_of_batch(variables: Variables, key: Array, batch: Batch, step: Array) -> Value:
        batch = {**batch, ROW: jnp.arange(batch["x"].shape[0])}
        parts = jax.tree.map(
            lambda a: jnp.moveaxis(a.reshape(a.shape[0] // num_parts, num_parts, *a.shape[1:]), 1, 0), batch
        )

        def add(total: Any, part: Batch) -> tuple[Any, None]:
            # Without the barrier XLA may compute all parts at once where the loop is unrolled.
            total, part = jax.lax.optimization_barrier((total, part))
            return jax.tree.map(jnp.add, total, gradients_of_part(variables, key, part, step)), None

        shapes = jax.eval_shape(gradients_of_part, variables, key, jax.tree.map(lambda a: a[0], parts), step)
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        # XLA's CPU backend runs convolutions inside a loop an order of magnitude slower.
        total, _ = jax.lax.scan(add, zeros, parts, unroll=platform() == "cpu")
        (loss, (metrics, collections)), grads = total
        loss, metrics, grads = jax.tree.map(lambda a: a / num_parts, (loss, metrics, grads))
        combined = {
            name: jax.tree.map(lambda sum_, old: _combined(sum_, old, num_parts), value, variables[name])
            for name, value in collections.items()
        }
        return (loss, (metrics, combined)), grads

    return gradients_of_batch


def _combined(total: Array, old: Array, num_parts: int) -> Array:
    """The sum over parts of a collection's array as that of the batch: the mean, or for integers all changes."""
    if jnp.issubdtype(total.dtype, jnp.integer):
        return total - (num_parts - 1) * old
    return total / num_parts

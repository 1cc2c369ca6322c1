"""Gradient accumulation: the gradient of a batch, computed in parts to save memory."""

from typing import Any

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.target import platform
from training.exchange import Exchange, Gradients, Value
from training.objectives.base import ROW, Aux, Batch, LossFn, Params, Variables


def gradients(loss_fn: LossFn, num_parts: int = 1, exchange: Exchange | None = None) -> Gradients:
    """`(variables, key, batch, step) -> ((loss, (metrics, collections)), gradients)`, by the parameters.

    All are averaged over `num_parts` parts, one after the other. Part j of K has the rows j, j + K, j + 2 K, ... of the
    batch, which the loss finds in `batch[ROW]`. So the random numbers of an example do not depend on K, and every
    device has its share of every part. The memory is that of one part. Every part begins with the collections of the
    step before: what is linear in means over the batch does not depend on K either. Of integers, such as counts, the
    changes are added up instead.

    exchange: each device computes the parts of its own rows, which are parts of the batch then, and gradients are
    exchanged once. By default the compiler exchanges them in every part, which needs no whole gradient on any device.
    """

    def gradients_of_part(variables: Variables, key: Array, batch: Batch, step: Array) -> Value:
        def loss_of(params: Params) -> tuple[Array, Aux]:
            return loss_fn({**variables, "params": params}, key, batch, step)

        return jax.value_and_grad(loss_of, has_aux=True)(variables["params"])

    if num_parts == 1 and exchange is None:
        return gradients_of_part

    def sum_of_parts(variables: Variables, key: Array, batch: Batch, step: Array) -> Value:
        parts = jax.tree.map(
            lambda a: jnp.moveaxis(a.reshape(a.shape[0] // num_parts, num_parts, *a.shape[1:]), 1, 0), batch
        )

        def add(total: Any, part: Batch) -> tuple[Any, None]:
            # Without the barrier XLA may compute all parts at once where the loop is unrolled.
            total, part = jax.lax.optimization_barrier((total, part))
            return jax.tree.map(jnp.add, total, gradients_of_part(variables, key, part, step)), None

        (shapes, grads) = jax.eval_shape(gradients_of_part, variables, key, jax.tree.map(lambda a: a[0], parts), step)
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        of_grads = jax.tree.map(lambda a: jnp.zeros(a.shape, jnp.promote_types(a.dtype, jnp.float32)), grads)
        # XLA's CPU backend runs convolutions inside a loop an order of magnitude slower.
        return jax.lax.scan(add, (zeros, of_grads), parts, unroll=platform() == "cpu")[0]

    sums: Gradients = gradients_of_part if num_parts == 1 else sum_of_parts
    num = num_parts
    if exchange is not None:
        sums, num = exchange.sum_over_devices(sums), num_parts * exchange.devices.count

    def gradients_of_batch(variables: Variables, key: Array, batch: Batch, step: Array) -> Value:
        (loss, (metrics, collections)), grads = sums(
            variables, key, {**batch, ROW: jnp.arange(batch["x"].shape[0])}, step
        )
        loss, metrics, grads = jax.tree.map(lambda a: a / num, (loss, metrics, grads))
        combined = {
            name: jax.tree.map(lambda sum_, old: _combined(sum_, old, num), value, variables[name])
            for name, value in collections.items()
        }
        return (loss, (metrics, combined)), grads

    return gradients_of_batch


def _combined(total: Array, old: Array, num: int) -> Array:
    """The sum over parts of a collection's array as that of the batch: the mean, or for integers all changes."""
    if jnp.issubdtype(total.dtype, jnp.integer):
        return total - (num - 1) * old
    return total / num

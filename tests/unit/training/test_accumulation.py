"""Gradient accumulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import StepKey, fold_in
from training.accumulation import gradients
from training.objectives.base import Terms, make_loss_fn


def objective(variables, keys, batch, dropout_key, step):
    """A loss that depends on every random number of its example."""
    noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    return Terms({"error": jnp.sum((batch["x"] * variables["params"]["a"][None] + noise) ** 2, axis=1)})


def test_gradients_of_parts_have_the_mean_of_the_whole_batch():
    batch = {"x": jax.random.normal(jax.random.key(1), (12, 3)), "label": jnp.zeros(12, jnp.int32)}
    variables, loss_fn = {"params": {"a": jnp.arange(1.0, 4.0)}}, make_loss_fn(objective)
    args = (variables, jax.random.key(0), batch, jnp.int32(0))
    (loss, (metrics, _)), grads = jax.jit(gradients(loss_fn))(*args)
    for parts in (2, 3, 12):
        (given, (of_parts_metrics, _)), of_parts = jax.jit(gradients(loss_fn, parts))(*args)
        np.testing.assert_allclose(given, loss, rtol=1e-6)  # sums in another order
        np.testing.assert_allclose(of_parts_metrics["loss"], metrics["loss"], rtol=1e-6)
        np.testing.assert_allclose(of_parts["a"], grads["a"], rtol=1e-5)


def test_every_part_has_a_dropout_key_of_its_own():
    def key_as_loss(variables, keys, batch, dropout_key, step):
        return Terms({"key": variables["params"]["a"] * jax.random.uniform(dropout_key) + jnp.zeros(len(keys))})

    batch, key = {"x": jnp.zeros((4, 1))}, jax.random.key(7)
    (loss, _), _ = gradients(make_loss_fn(key_as_loss), 2)(
        {"params": {"a": jnp.asarray(1.0)}}, key, batch, jnp.int32(0)
    )
    keys = [fold_in(fold_in(key, StepKey.DROPOUT), part) for part in range(2)]
    assert float(loss) == pytest.approx(np.mean([float(jax.random.uniform(k)) for k in keys]), rel=1e-6)

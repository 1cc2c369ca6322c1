"""The training step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.support.linear import make_linear_loss
from training.checksums import checksums
from training.ema import EMA
from training.objectives.base import make_loss_fn
from training.optim import adam, cosine, learning_rate
from training.state import initial_state
from training.step import fuse, make_train_step


def test_score_matching_finds_the_exact_score():
    """On N(0, 1) data under VP every marginal is N(0, 1), so the best linear score is -x."""
    loss_fn = make_loss_fn(make_linear_loss())
    schedule = learning_rate(0.05)
    tx = adam(schedule)
    step = jax.jit(make_train_step(loss_fn, tx, EMA(0.98), schedule, jax.random.key(0)))
    state = initial_state({"params": {"a": jnp.asarray(0.0)}}, tx)
    for i in range(400):
        state, _ = step(state, {"x": jax.random.normal(jax.random.key(100 + i), (256, 4))})
    # The average over the last 50 steps of 256 x 4 numbers: a few per cent of noise.
    assert abs(float(state.ema_params["a"]) - 1.0) < 0.03


def test_fused_steps_equal_single_ones():
    loss_fn, schedule = make_loss_fn(make_linear_loss()), learning_rate(0.01, warmup=2)
    tx = adam(schedule, grad_clip=1.0, weight_decay=0.1)
    step = make_train_step(loss_fn, tx, EMA(0.9, warmup=True), schedule, jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4, 8, 3))
    single = state = initial_state({"params": {"a": jnp.asarray(0.3)}}, tx)
    for i in range(4):
        single, last = jax.jit(step)(single, {"x": x[i]})
    several, metrics = jax.jit(fuse(step))(state, {"x": x})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), single, several)
    assert metrics["loss"].shape == (4,) and float(metrics["loss"][-1]) == pytest.approx(float(last["loss"]), rel=1e-6)


def test_state_is_donated():
    loss_fn, schedule = make_loss_fn(make_linear_loss()), learning_rate(0.01)
    tx = adam(schedule)
    step = make_train_step(loss_fn, tx, EMA(0.9), schedule, jax.random.key(0))
    state = initial_state({"params": {"a": jnp.ones((1, 4))}}, tx)
    compiled = jax.jit(step, donate_argnums=0).lower(state, {"x": jnp.ones((8, 4))}).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert compiled.memory_analysis().alias_size_in_bytes == size


def test_learning_rate_warms_up_from_zero_and_decays_to_zero():
    rate = learning_rate(0.1, warmup=10, shape=cosine(100))
    np.testing.assert_allclose([rate(0), rate(100), rate(200)], 0, atol=1e-8)
    assert float(rate(5)) == pytest.approx(0.05 * 0.5 * (1 + np.cos(np.pi * 0.05)), rel=1e-5)
    assert float(learning_rate(0.1)(0)) == pytest.approx(0.1)


def test_a_step_with_a_loss_that_is_not_finite_changes_nothing_but_the_count():
    def loss_fn(variables, key, batch, step):
        loss = jnp.mean((variables["params"]["a"] - batch["x"]) ** 2)
        return loss, ({"loss": loss}, {})

    tx = optax.adam(0.1)
    step = jax.jit(make_train_step(loss_fn, tx, EMA(0.9), lambda s: 0.1, jax.random.key(0), skip_nonfinite=True))
    good, bad = {"x": jnp.ones((4,))}, {"x": jnp.array([1.0, jnp.nan, 1.0, 1.0])}
    start, metrics = step(initial_state({"params": {"a": jnp.float32(0.0)}}, tx), good)
    assert metrics["skipped"] == 0
    after, metrics = step(start, bad)
    assert metrics["skipped"] == 1 and after.step == start.step + 1
    assert checksums(dataclasses.replace(after, step=start.step)) == checksums(start)

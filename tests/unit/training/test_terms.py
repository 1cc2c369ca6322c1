"""Objectives with several losses, metrics and collections: the total loss, and what a step does with the rest."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.support.tracing import CountingJit
from training.checksums import checksums
from training.ema import EMA
from training.objectives.base import Terms, check_terms, constant, make_loss_fn, ramp, weighted
from training.optim import trained_mask
from training.state import initial_state
from training.step import fuse, make_train_step
from training.transfer import transfer

VARIABLES = {
    "params": {"a": jnp.array([[0.5, -1.0, 2.0]]), "b": jnp.zeros((1, 3))},
    "usage": {"count": jnp.int32(7), "mean": jnp.ones(3)},
}
STEP = jnp.int32(0)


def objective(variables, keys, batch, dropout_key, step):
    """Two losses; a running mean, and a count of examples."""
    params, usage, x = variables["params"], variables["usage"], batch["x"]
    after = {"count": usage["count"] + len(x), "mean": 0.5 * usage["mean"] + 0.5 * jnp.mean(x, axis=0)}
    losses = {"error": jnp.sum((x * params["a"] + params["b"]) ** 2, axis=1), "size": jnp.sum(x**2, axis=1)}
    return Terms(losses, {"largest": jnp.abs(x).max()}, {"usage": after})


def step_of(num_parts=1, weights=None, **options):
    loss_fn = make_loss_fn(objective, weights or {})
    tx = optax.adam(0.1)
    step = make_train_step(loss_fn, tx, EMA(0.9), lambda step: 0.1, jax.random.key(0), num_parts=num_parts, **options)
    return step, initial_state(VARIABLES, tx)


def test_the_loss_is_the_weighted_sum_of_means_and_a_single_loss_is_its_mean():
    losses = {"error": jnp.array([1.0, 3.0]), "size": jnp.array([10.0, 20.0])}
    weights = {"size": ramp(0.0, 1.0, 10, 20)}
    for step, expected in ((0, 2.0), (15, 9.5), (100, 17.0)):
        total = weighted({k: v.mean() for k, v in losses.items()}, weights, jnp.int32(step))
        assert float(total) == pytest.approx(expected)
    alone = jax.random.normal(jax.random.key(0), (7,))
    for weights in ({}, {"error": constant(1.0)}):
        np.testing.assert_array_equal(weighted({"error": alone.mean()}, weights, STEP), alone.mean())


def test_terms_are_logged_by_name_with_the_metrics_of_the_objective():
    x = jnp.arange(6.0).reshape(2, 3)
    step, state = step_of(weights={"size": constant(0.1)})
    state, metrics = jax.jit(step)(state, {"x": x})
    assert metrics.keys() == {"loss", "loss/error", "loss/size", "largest", "grad_norm", "learning_rate"}
    assert float(metrics["loss"]) == pytest.approx(float(metrics["loss/error"] + 0.1 * metrics["loss/size"]), rel=1e-6)
    assert float(metrics["loss/size"]) == pytest.approx(27.5) and float(metrics["largest"]) == 5.0
    assert int(state.collections["usage"]["count"]) == 9


def test_parts_of_a_batch_change_collections_as_the_whole_batch_does():
    x = jax.random.normal(jax.random.key(1), (12, 3))
    found = {}
    for parts in (1, 2, 12):
        step, state = step_of(parts)
        found[parts] = jax.jit(step)(state, {"x": x})[0].collections["usage"]
    for parts in (2, 12):
        assert int(found[parts]["count"]) == int(found[1]["count"]) == 7 + 12
        np.testing.assert_allclose(found[parts]["mean"], found[1]["mean"], rtol=1e-5)  # sums in another order


def test_fused_steps_change_collections_one_after_the_other():
    step, state = step_of()
    x = jax.random.normal(jax.random.key(1), (3, 4, 3))
    several, metrics = jax.jit(fuse(step))(state, {"x": x})
    for i in range(3):
        state, _ = jax.jit(step)(state, {"x": x[i]})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), several, state)
    assert metrics["loss/size"].shape == (3,)


def test_a_step_that_is_skipped_leaves_collections_as_they_were():
    step, state = step_of(skip_nonfinite=True)
    after, metrics = jax.jit(step)(state, {"x": jnp.full((2, 3), jnp.nan)})
    assert metrics["skipped"] == 1 and checksums(dataclasses.replace(after, step=state.step)) == checksums(state)


def test_frozen_parameters_stay_bit_for_bit_and_do_not_count_in_the_norm():
    tx = optax.masked(optax.adamw(0.1, weight_decay=0.1), lambda params: trained_mask(("a",), params))
    step = make_train_step(
        make_loss_fn(objective), tx, EMA(0.9), lambda step: 0.1, jax.random.key(0), averages={"rate_0": EMA(0.5)},
        trained=lambda params: trained_mask(("a",), params),
    )  # fmt: skip
    params = {"a": jnp.array([[-0.0, 0.1, 0.3]]), "b": jnp.ones((1, 3))}
    state, batch = initial_state({**VARIABLES, "params": params}, tx, ("rate_0",)), {"x": jnp.ones((2, 3))}
    for _ in range(3):
        state, metrics = jax.jit(step)(state, batch)
    for tree in (state.params, state.ema_params, state.averages["rate_0"]):
        assert checksums(tree["a"]) == checksums(params["a"]) and np.all(np.asarray(tree["b"]) < 1)
    assert float(metrics["grad_norm"]) < 2 * 3**0.5 * 1.3  # that of b alone: 2 |a + b| in each entry


def test_networks_of_earlier_stages_are_arguments_of_the_compiled_step():
    def shifted(variables, keys, batch, dropout_key, step):
        return Terms(
            {"error": jnp.sum((batch["x"] * variables["params"]["a"] - variables["frozen"]["b"]) ** 2, axis=1)}
        )

    tx, params = optax.sgd(0.1), {"a": jnp.ones((1, 3))}
    step = make_train_step(make_loss_fn(shifted), tx, EMA(0.9), lambda step: 0.1, jax.random.key(0))
    compiled, state = CountingJit(step), initial_state({"params": params}, tx)
    x = jnp.ones((2, 3))
    losses = [
        float(compiled(state, {"x": x}, {"frozen": {"b": jnp.full((1, 3), b)}})[1]["loss"]) for b in (0.0, 2.0, 3.0)
    ]
    assert losses == [3.0, 3.0, 12.0] and compiled.num_traces == 1


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (Terms({}), "returned no loss"),
        (Terms({"error": jnp.zeros(())}), r"The loss 'error' has the shape \(\); return one for each of 2 examples"),
        (Terms({"loss": jnp.zeros(2), "b": jnp.zeros(2)}), "calls a loss or metric 'loss', which the trainer itself"),
        (Terms({"a": jnp.zeros(2)}, {"b": jnp.zeros(2)}), r"The metric 'b' has the shape \(2,\); return one number"),
        (Terms({"a": jnp.zeros(2)}, {"skipped": STEP}), "calls a loss or metric 'skipped'"),
        (Terms({"a": jnp.zeros(2)}, {}, {"codes": {}}), "changed the collection 'codes', but .* are usage; let the"),
    ],
)
def test_terms_that_do_not_fit_are_named(terms, message):
    with pytest.raises(ValueError, match=message):
        check_terms(terms, VARIABLES, 2)


def test_a_transfer_names_what_it_took_and_why_not_the_rest():
    source = {"params": {"a": np.ones((1, 3), np.float32), "b": np.ones(2, np.float32), "c": np.ones(1)}}
    target = {"params": {**VARIABLES["params"], "d": jnp.zeros(2, jnp.bfloat16)}}
    found, report = transfer(target, source)
    np.testing.assert_array_equal(found["params"]["a"], source["params"]["a"])
    np.testing.assert_array_equal(found["params"]["b"], target["params"]["b"])
    assert report.summary() == (
        "1 of 3 arrays taken; missing there: params/d; "
        "different: params/b (float32[2] there, float32[1, 3] here); unused: params/c"
    )

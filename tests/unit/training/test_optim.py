"""Optimizers by name: their steps in closed form, what decays, what is averaged, and that all of them resume."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.optimizer import make_averaged, make_mask, make_optimizer
from configs import default
from training.checkpoint import Checkpoints
from training.checksums import checksums
from training.ema import EMA
from training.optim import DIRECTIONS, inverse_sqrt, learning_rate, warmup_stable_decay
from training.state import initial_state
from training.step import make_train_step


def params():
    """A kernel of a convolution, a matrix, a bias, and a parameter that stays frozen."""
    sizes = {"Conv_0": {"kernel": (3, 3, 2, 4)}, "Dense_0": {"kernel": (4, 3), "bias": (3,)}, "Fixed_0": {"bias": (2,)}}
    leaves, tree = jax.tree.flatten(sizes, is_leaf=lambda size: isinstance(size, tuple))
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(tree, [jnp.asarray(rng.normal(size=size), jnp.float32) for size in leaves])


def quadratic(variables, key, batch, step):
    """The mean of all parameters squared, with noise that depends on the step."""
    noise = jax.random.normal(key, ())
    loss = sum(jnp.sum((leaf - 0.01 * noise) ** 2) for leaf in jax.tree.leaves(variables["params"]))
    return loss, ({"loss": loss}, {})


def config_of(name="Adam", **optim):
    config = default.get_config()
    config.optim.update(optimizer=name, warmup=0, lr=0.01, **optim)
    return config


def step_of(config):
    tx, schedule = make_optimizer(config)
    step = make_train_step(
        quadratic, tx, EMA(0.9), schedule, jax.random.key(1), trained=make_mask(config), averaged=make_averaged(config)
    )
    return tx, step


def test_every_optimizer_goes_down_keeps_frozen_parameters_and_resumes_bit_for_bit(tmp_path):
    """Two steps, a checkpoint, and two more steps are four steps, to the last bit; all optimizers side by side."""
    options = {"frozen": ("Fixed_0/*",), "weight_decay": 0.01, "no_decay": ("*/bias",), "grad_clip": 1.0}
    runs = {name: step_of(config_of(name, **options)) for name in DIRECTIONS}
    start = {name: initial_state({"params": params()}, tx) for name, (tx, _) in runs.items()}

    @jax.jit
    def step(states):
        taken = {name: step(states[name], {"x": jnp.zeros(1)}) for name, (_, step) in runs.items()}
        return [{name: pair[part] for name, pair in taken.items()} for part in (0, 1)]

    store, states, losses = Checkpoints(tmp_path), start, []
    for taken in range(4):
        states, metrics = step(states)
        losses.append(jax.device_get({name: m["loss"] for name, m in metrics.items()}))
        if taken == 1:
            store.save(2, dataclasses.replace(start["Adam"], opt_state=states), {})
    like = dataclasses.replace(start["Adam"], opt_state=jax.tree.map(jnp.zeros_like, start))
    resumed = store.restore(2, like).opt_state
    store.close()
    for _ in range(2):
        resumed, _ = step(resumed)
    for name, state in states.items():
        assert losses[-1][name] < losses[0][name], name
        for kept in (state.params, state.ema_params):
            np.testing.assert_array_equal(kept["Fixed_0"]["bias"], start[name].params["Fixed_0"]["bias"])
        assert checksums(resumed[name]) == checksums(state), name


def test_steps_are_those_of_the_papers():
    """From the first gradient g: Adam and Lion move by the sign, SGD by g, Muon by an orthogonal matrix."""
    g = jax.tree.map(lambda leaf: leaf + 0.5, params())
    moved = {}
    for name in ("Adam", "nadamw", "lion", "sgd", "muon"):
        tx, _ = make_optimizer(config_of(name, grad_clip=-1.0))
        moved[name], _ = jax.jit(tx.update)(g, tx.init(params()), params())
    for name in ("Adam", "lion"):
        for update, gradient in zip(jax.tree.leaves(moved[name]), jax.tree.leaves(g), strict=True):
            np.testing.assert_allclose(update, -0.01 * jnp.sign(gradient), rtol=1e-4)
    np.testing.assert_allclose(moved["sgd"]["Dense_0"]["bias"], -0.01 * g["Dense_0"]["bias"], rtol=1e-6)
    np.testing.assert_allclose(moved["muon"]["Dense_0"]["bias"], moved["nadamw"]["Dense_0"]["bias"], rtol=1e-3)
    for kernel in (moved["muon"]["Conv_0"]["kernel"].reshape(18, 4), moved["muon"]["Dense_0"]["kernel"]):
        values = np.linalg.svd(kernel, compute_uv=False) / (0.01 * 0.2 * np.sqrt(max(kernel.shape)))
        assert np.all((values > 0.6) & (values < 1.3))  # Newton and Schulz's iteration ends within this of 1


def test_only_what_is_not_spared_decays():
    tx, _ = make_optimizer(config_of("sgd", beta1=0.0, weight_decay=0.5, no_decay=("*/bias",)))
    zero = jax.tree.map(jnp.zeros_like, params())
    updates, _ = tx.update(zero, tx.init(params()), params())
    np.testing.assert_allclose(updates["Conv_0"]["kernel"], -0.005 * params()["Conv_0"]["kernel"], rtol=1e-6)
    np.testing.assert_array_equal(updates["Dense_0"]["bias"], 0.0)
    tx, _ = make_optimizer(config_of(weight_decay=0.5, no_decay=("*/biass",)))
    with pytest.raises(ValueError, match="config.optim.no_decay has '.*biass', which no parameter matches; .*bias'"):
        tx.init(params())


def test_what_is_fixed_and_a_noise_schedule_never_decay():
    """Frequencies that are not random features are trained, and decay."""
    spared = {"MPFourier_0": ("frequency", "phase"), "GaussianFourierProjection_0": ("W",), "noise_schedule": ("ends",)}
    decaying = {"NIN_0": ("W",), "S4_0": ("frequency",), "Dense_0": ("kernel", "bias")}
    tree = {name: {key: jnp.ones(3) for key in keys} for name, keys in {**spared, **decaying}.items()}
    for params, no_decay in ((tree, ()), ({"network": tree}, ("*/bias",))):
        tx, _ = make_optimizer(config_of("sgd", beta1=0.0, weight_decay=0.5, no_decay=no_decay))
        updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
        for name, part in updates.get("network", updates).items():
            for key, update in part.items():
                spared_here = name in spared or (no_decay and key == "bias")
                np.testing.assert_allclose(update, 0.0 if spared_here else -0.005, rtol=1e-6)


def test_normalized_parameters_keep_mean_square_one_and_all_others_move_as_before():
    kept, plain = (config_of(normalized=patterns, grad_clip=-1.0) for patterns in (("*/kernel",), ()))
    states = []
    for config in (kept, plain):
        tx, step = step_of(config)
        state = initial_state({"params": params()}, tx)
        for _ in range(3):
            state, _ = jax.jit(step)(state, {"x": jnp.zeros(1)})
        states.append(state.params)
    for name in ("Conv_0", "Dense_0"):
        kernel = states[0][name]["kernel"]
        np.testing.assert_allclose(jnp.mean(kernel**2, axis=range(kernel.ndim - 1)), 1, rtol=1e-5)
        assert np.abs(jnp.mean(states[1][name]["kernel"] ** 2, axis=range(kernel.ndim - 1)) - 1).max() > 0.05
    np.testing.assert_array_equal(states[0]["Dense_0"]["bias"], states[1]["Dense_0"]["bias"])
    tx, _ = make_optimizer(config_of(normalized=("*/weight",)))
    with pytest.raises(ValueError, match="config.optim.normalized has '.*/weight', which no parameter matches"):
        tx.init(params())
    with pytest.raises(ValueError, match="use another optimizer, or optim.normalized = "):
        make_optimizer(config_of("schedule_free_sgd", normalized=("*/kernel",)))


def test_a_schedule_free_optimizer_evaluates_the_average_of_its_iterates():
    """SGD at a constant rate: z moves by the gradient at y = (1 - b) z + b x, and x is the mean of all z."""
    config = config_of("schedule_free_sgd", beta1=0.8, grad_clip=-1.0)
    tx, _ = make_optimizer(config)
    step = jax.jit(
        make_train_step(
            lambda variables, key, batch, at: (jnp.sum(variables["params"]["a"] ** 2), ({}, {})),
            tx, EMA(0.0), learning_rate(0.01), jax.random.key(0), averaged=make_averaged(config),
        )
    )  # fmt: skip
    state = initial_state({"params": {"a": jnp.asarray([1.0, -2.0])}}, tx)
    x = z = np.array([1.0, -2.0])
    for k in range(1, 4):
        state, _ = step(state, {})
        z = z - 0.01 * 2 * (0.2 * z + 0.8 * x)
        x = x + (z - x) / k
        np.testing.assert_allclose(state.ema_params["a"], x, rtol=1e-5)
        np.testing.assert_allclose(state.params["a"], 0.2 * z + 0.8 * x, rtol=1e-5)
    with pytest.raises(ValueError, match="weight of the average of a schedule-free optimizer"):
        make_optimizer(config_of("schedule_free_adamw", beta1=0.0))


def test_schedules_have_their_closed_forms():
    config = config_of(schedule="wsd")
    config.training.n_iters = 100
    _, rate = make_optimizer(config)
    np.testing.assert_allclose([rate(k) for k in (0, 80, 90, 100, 120)], [0.01, 0.01, 0.005, 0.0, 0.0], atol=1e-8)
    config.optim.update(schedule="inverse_sqrt", warmup=25)
    _, rate = make_optimizer(config)
    np.testing.assert_allclose([rate(k) for k in (0, 25, 100, 400)], [0.0, 0.01, 0.005, 0.0025], rtol=1e-6)
    assert float(warmup_stable_decay(100, 50)(75.0)) == 0.5 and float(inverse_sqrt(4)(16.0)) == 0.5
    with pytest.raises(ValueError, match="config.optim.schedule = 'inverse_sqr' is not known; .*nearest: inverse_sqrt"):
        make_optimizer(config_of(schedule="inverse_sqr"))
    with pytest.raises(ValueError, match="config.optim.optimizer = 'adam_w' is not known; .*nearest: adamw"):
        make_optimizer(config_of("adam_w"))

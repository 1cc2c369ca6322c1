"""Variational diffusion of levels: the bound of an exact model, the gradient of a schedule, and what is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from builders.network import initial_variables
from builders.objective import make_objective
from builders.score import make_predict_of
from configs import default, presets
from core.arrays import broadcast_to_rank
from core.keys import example_keys, fold_in
from corruption.gaussian import GaussianNoise
from corruption.levels import rate_nats, reconstruction_nats
from corruption.predictions import Gaussian
from likelihood.levels import levels_bound
from models.heads.schedule import MonotoneSchedule
from sde import times
from sde.log_linear import LogLinear
from training.objectives.score_matching import independent
from training.objectives.variational_diffusion import variational_diffusion, without_latent

SDE = LogLinear(-10.0, 13.3)
LEVELS, P0 = jnp.linspace(-1.0, 1.0, 5), np.array([0.4, 0.1, 0.1, 0.15, 0.25])
ENTROPY = -np.sum(P0 * np.log(P0))
MODULE = MonotoneSchedule()


def exact(x, t, scale=1.0):
    """The posterior means of the data and of the noise by enumeration; x [B, 1]. scale: of the mean, 1 is exact."""
    m, std = broadcast_to_rank(SDE.mean_coeff(t), x), broadcast_to_rank(SDE.std(t), x)
    logits = jnp.log(jnp.asarray(P0, jnp.float32))[None] - 0.5 * ((x - m * LEVELS[None]) / std) ** 2
    x0 = scale * jnp.sum(jax.nn.softmax(logits) * LEVELS[None], axis=1, keepdims=True)
    return Gaussian(x0, (x - m * x0) / std)


def random_schedule(seed):
    params = MODULE.init(jax.random.key(0), jnp.zeros(1))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: a + 0.07 * rng.standard_normal(a.shape).astype(np.float32), params)


def expected_bound(predict, first, last, warp=lambda u: (u, jnp.ones_like(u))):
    """The mean over P0 of the bound, by quadrature over noise (80 nodes) and times (1,200)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    u = jnp.asarray((np.arange(1200) + 0.5) / 1200, jnp.float32)
    shape, slope = warp(u)
    grid = jnp.broadcast_arrays(
        LEVELS[:, None, None], jnp.asarray(nodes, jnp.float32)[None, :, None], shape[None, None]
    )
    x0, z, s = (a.reshape(-1) for a in grid)
    rates = rate_nats(predict, SDE, x0[:, None], first + (last - first) * s, z[:, None])
    diffusion = np.asarray((last - first) * rates.reshape(5, 80, -1) * slope[None, None]).mean(-1) @ weights
    x0, z = (a[..., 0].reshape(-1, 1) for a in grid[:2])
    decoded = reconstruction_nats(SDE, x0, jnp.full(len(x0), first), z, LEVELS).reshape(5, 80) @ weights
    prior = GaussianNoise(SDE).prior_nats(LEVELS[:, None], jnp.full(5, last))
    return float(P0 @ (np.asarray(prior) + diffusion + np.asarray(decoded)))


def test_the_bound_is_the_entropy_for_the_exact_model_and_above_it_for_any_other_and_other_ends():
    found = expected_bound(exact, 0.0, 1.0)
    assert found == pytest.approx(ENTROPY, abs=2e-3)  # float32 near time 0; the prior differs by 1e-9
    assert expected_bound(lambda x, t: exact(x, t, 0.9), 0.0, 1.0) > ENTROPY + 0.05
    for first, last in ((0.5, 1.0), (0.0, 0.5)):  # levels that noise hides, and a prior that is not reached
        assert expected_bound(exact, first, last) > ENTROPY + 0.01


def test_a_schedule_changes_the_times_and_not_the_bound():
    warp = lambda u: MODULE.apply(random_schedule(1), u)[:2]  # noqa: E731
    assert expected_bound(exact, 0.0, 1.0, warp) == pytest.approx(ENTROPY, abs=5e-3)  # steeper: a coarser quadrature
    x0 = LEVELS[np.random.default_rng(0).choice(5, p=P0, size=2000)][:, None]
    keys = example_keys(jax.random.key(0), 2000)
    found = levels_bound(exact, SDE, x0, keys, LEVELS, first=jnp.float32(0.0), last=jnp.float32(1.0), num_times=16)
    error = float(jnp.std(found.nats)) / 2000**0.5
    assert abs(float(found.nats.mean()) - ENTROPY) < 4 * error
    assert int(found.num_evals) == 16


def test_a_schedule_increases_from_zero_to_one_with_the_slope_that_it_says():
    t = jnp.linspace(0.0, 1.0, 101)
    for params in (MODULE.init(jax.random.key(0), t), random_schedule(2)):
        of = lambda t, params=params: MODULE.apply(params, t)  # noqa: E731
        shape = lambda t, of=of: of(t).shape  # noqa: E731
        found, slope = jax.jvp(shape, (t,), (jnp.ones_like(t),))
        assert found[0] == 0 and found[-1] == pytest.approx(1, abs=1e-6) and np.all(np.diff(found) > 0)
        np.testing.assert_allclose(of(t).slope, slope, rtol=1e-4)
    start = MODULE.apply(MODULE.init(jax.random.key(0), t), t)
    np.testing.assert_allclose(start.shape, t, atol=0.01)
    assert 0 < start.first < 0.01 and 0.99 < start.last < 1


def normal(params, batch, dropout_key):
    """Predictions for standard normal data, exact for `a` = 1."""

    def predict(x, t):
        m, std = broadcast_to_rank(SDE.mean_coeff(t), x), broadcast_to_rank(SDE.std(t), x)
        noise = params["a"] * std * x
        return Gaussian((x - std * noise) / m, noise)

    return predict


def objective_of(schedule):
    return variational_diffusion(
        without_latent(normal), SDE, lambda keys, batch: batch["x"], independent(times.uniform(0.0)), schedule, LEVELS
    )


def learned(params, t):
    return MODULE.apply({"params": params["noise_schedule"]}, t)


def test_the_shape_follows_the_gradient_of_the_squared_loss_and_all_else_that_of_the_bound():
    params = {"a": jnp.float32(0.8), **{"noise_schedule": random_schedule(3)["params"]}}
    keys, batch = example_keys(jax.random.key(1), 32), {"x": jax.random.normal(jax.random.key(2), (32, 3))}
    given = lambda schedule, params: objective_of(schedule)({"params": params}, keys, batch, None, 0)  # noqa: E731

    def with_still_shape(params, t):
        shape, slope, first, last = learned(params, t)
        return *jax.lax.stop_gradient((shape, slope)), first, last

    def squared(params):  # L itself, differentiated by JAX: `variational_diffusion` never does
        t, _ = independent(times.uniform(0.0))(fold_in(keys, 1))
        z = jax.vmap(lambda key: jax.random.normal(key, (3,)))(fold_in(keys, 2))
        shape, slope, first, last = learned(params, t)
        s = first + (last - first) * shape
        L = (last - first) * slope * rate_nats(normal(params, None, None), SDE, batch["x"], s, z) / (3 * np.log(2))
        return jnp.mean(L**2)

    bound = lambda schedule: lambda params: jnp.mean(given(schedule, params).losses["bound"])  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(bound(learned)))(params)
    plain, of_bound = jax.jit(jax.value_and_grad(bound(with_still_shape)))(params)
    of_square = jax.jit(jax.grad(squared))(params)["noise_schedule"]
    assert value == pytest.approx(float(plain), rel=1e-6)
    np.testing.assert_allclose(gradient["a"], of_bound["a"], rtol=1e-4)
    for name, found in gradient["noise_schedule"].items():
        expected = of_bound["noise_schedule"][name] if name == "ends" else of_square[name]
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3 * np.abs(expected).max(), err_msg=name)


def test_a_learned_shape_has_less_than_a_third_of_the_variance_over_times_at_the_same_mean():
    x, steps = jax.random.normal(jax.random.key(3), (256, 16)), 300
    start = {"a": jnp.float32(1.0), "noise_schedule": MODULE.init(jax.random.key(0), jnp.zeros(1))["params"]}
    only = jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key not in ("a", "ends"), start)
    tx = optax.chain(
        optax.masked(optax.adam(0.005), only), optax.masked(optax.set_to_zero(), jax.tree.map(lambda o: not o, only))
    )

    def terms(params, step):
        keys = example_keys(fold_in(jax.random.key(4), step), 256)
        return objective_of(learned)({"params": params}, keys, {"x": x}, None, step)

    def advance(carry, step):
        params, state = carry
        grads = jax.grad(lambda p: jnp.mean(terms(p, step).losses["bound"]))(params)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    train = jax.jit(lambda carry: jax.lax.scan(advance, carry, jnp.arange(steps))[0][0])
    measured = jax.jit(lambda params: jax.lax.map(lambda k: terms(params, k).metrics, 1000 + jnp.arange(40)))
    means, variances = [], []
    for params in (start, train((start, tx.init(start)))):
        found = measured(params)
        means.append(float(found["diffusion"].mean()))
        variances.append(float(found["diffusion_squared"].mean()) - means[-1] ** 2)
    assert means[1] == pytest.approx(means[0], abs=4 * (variances[0] / 10_240) ** 0.5)
    assert variances[1] < variances[0] / 3


def test_a_fixed_schedule_calls_the_network_once():
    """A learned one differentiates it by time, too."""
    config = default.get_config()
    presets.mlp(config)
    config.data.shape = (2,)
    config.model.update(nf=8, num_res_blocks=1)
    presets.variational(config, "fixed")
    variables = jax.eval_shape(lambda: initial_variables(config, jax.random.key(0)))
    keys, x = example_keys(jax.random.key(0), 2), jnp.zeros((2, 2))

    def num_products(fn):
        return str(jax.make_jaxpr(fn)(variables)).count("dot_general")

    objective = make_objective(config, 8)
    loss = num_products(lambda v: objective(v, keys, {"x": x}, None, jnp.zeros((), int)).losses)
    once = num_products(lambda v: make_predict_of(config)(v["params"], {}, None)(x, jnp.ones(2)))
    assert loss == once > 0

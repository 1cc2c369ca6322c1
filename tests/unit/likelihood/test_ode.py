"""Log-likelihood by the probability-flow ODE against the exact densities of Gaussian data."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from core.keys import example_keys
from likelihood.dequantize import bits_per_dim
from likelihood.divergence import sample_probes
from likelihood.ode import drift_and_divergence, log_likelihood
from sde.flow import FlowCoordinates
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Gaussian, Mixture, correlated
from tests.support.tracing import CountingJit

CONTINUOUS = {"vp": VP(), "subvp": SubVP(), "ve": VE()}
each = pytest.mark.parametrize("name", CONTINUOUS)
# Four orthogonal probes of signs: the mean of epsilon epsilon^T over them is the identity, not only in expectation.
HADAMARD = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], np.float32)
SHAPE = (8, 2, 2, 1)


def solve(data, sde, x, eps=1e-5):
    """The mean of log p over the four probes [B], the last latent, and the exact log p at eps [B]."""
    probes = jnp.asarray(HADAMARD).reshape(4, 1, *SHAPE[1:])
    score_fn = data.score_fn(sde)
    stacked = jnp.repeat(x[None], 4, axis=0).reshape(-1, *SHAPE[1:])
    epsilon = jnp.broadcast_to(probes, (4, *x.shape)).reshape(stacked.shape)
    found = jax.jit(lambda x: log_likelihood(score_fn, sde, x, epsilon, eps=eps))(stacked)
    return found, found.logp_nats.reshape(4, -1).mean(0), data.logp(sde, x, jnp.full(SHAPE[:1], eps))


@each
def test_bits_per_dimension_are_those_of_the_closed_form(name):
    """A correlated Gaussian of mean zero, whose marginal at t = 1 is the prior to a few parts in 10^4."""
    sde, data = CONTINUOUS[name], correlated(4)
    x = data.sample(0, SHAPE)
    found, logp, exact = solve(data, sde, x)
    ours, closed = (bits_per_dim(a, 4, 256, True) for a in (logp, exact))
    # Solver's tolerance 1e-5, and the prior: a variance off by 1 / sigma_max^2 = 4e-4 (VE) or exp(-10) = 4e-5 (VP).
    np.testing.assert_allclose(ours, closed, atol=1e-3)
    per_probe = found.logp_nats.reshape(4, -1)
    assert np.all(np.std(per_probe, axis=0) > 0.01)  # correlated: a single probe would not do


@each
def test_change_of_variables_holds_point_by_point(name):
    """With a mean that the prior does not have: log p_eps(x) = log p_1(latent) + delta, p_1 the exact marginal."""
    sde, data = CONTINUOUS[name], correlated(4, shift=0.7, seed=3)
    x = data.sample(1, SHAPE)
    found, logp, exact = solve(data, sde, x)
    latent = found.latent[: SHAPE[0]]
    mismatch = sde.prior_logp(latent) - data.logp(sde, latent, jnp.ones(SHAPE[0]))
    # rtol = atol = 1e-5 of about 30 steps, on log p of 10; float32 sums of logs of variances up to 2500.
    np.testing.assert_allclose(logp - mismatch, exact, atol=2e-3)
    np.testing.assert_allclose(found.prior_logp_nats, sde.prior_logp(found.latent), rtol=1e-6)
    np.testing.assert_allclose(found.logp_nats, found.prior_logp_nats + found.delta_logp_nats, rtol=1e-6)


def test_density_at_eps_is_nearly_that_of_smooth_data():
    """What the offset [0, eps] hides on smooth data is next to nothing, though VE has noise of sigma_min there."""
    data = correlated(4)
    x = data.sample(0, (200, 4))
    gaps = {
        name: np.mean(data.data_logp(x) - data.logp(sde, x, jnp.full(200, 1e-5))) for name, sde in CONTINUOUS.items()
    }
    # In expectation the divergence sum r^2 / 4 with r = 1e-4 / variance (VE); 200 examples and float32 leave 1e-3.
    assert all(abs(gap) < 1e-3 for gap in gaps.values())


@each
def test_divergence_is_unbiased_and_comes_with_the_drift(name):
    sde = CONTINUOUS[name]
    score_fn = Mixture((0.4, 0.6), (correlated(4, shift=1.0, seed=1), correlated(4, seed=2))).score_fn(sde)
    x, t = jnp.array([[0.3, -0.5, 0.2, 0.9]]), jnp.array([0.2])
    jacobian = jax.jacfwd(lambda x: sde.probability_flow(score_fn, x[None], t)[0])(x[0])
    run = jax.jit(jax.vmap(lambda e: drift_and_divergence(score_fn, sde, x, t, e)))
    drift, divergence = run(jnp.asarray(HADAMARD)[:, None])
    np.testing.assert_allclose(drift[0], sde.probability_flow(score_fn, x, t), rtol=1e-5, atol=1e-6)  # float32
    scale = np.abs(jacobian).sum()
    np.testing.assert_allclose(divergence.mean(), np.trace(jacobian), atol=1e-5 * scale)  # exact, by orthogonality
    off = jacobian + jacobian.T - 2 * np.diag(np.diag(jacobian))
    for kind, variance in [("rademacher", np.sum(off**2) / 2), ("gaussian", np.sum((jacobian + jacobian.T) ** 2) / 2)]:
        probes = sample_probes(kind, example_keys(jax.random.key(5), 4000), (4000, 4))
        _, divergence = run(probes[:, None])
        # Hutchinson's variance, and four standard errors of the mean of 4000.
        assert abs(float(divergence.mean() - np.trace(jacobian))) < 4 * math.sqrt(variance / 4000)
        assert float(divergence.var()) == pytest.approx(variance, rel=0.25)


def test_probes_are_those_of_their_example():
    for kind in ["rademacher", "gaussian"]:
        keys = example_keys(jax.random.key(0), 2000)
        probes = sample_probes(kind, keys, (2000, 3))
        np.testing.assert_array_equal(sample_probes(kind, keys[5:7], (2, 3)), probes[5:7])
        np.testing.assert_allclose(probes.T @ probes / 2000, np.eye(3), atol=4 * math.sqrt(2 / 2000))  # 4 std. errors
    assert set(np.unique(sample_probes("rademacher", keys, (2000, 3)))) == {-1.0, 1.0}


def test_evaluations_are_counted_and_other_data_do_not_recompile():
    calls, score = [], correlated(4, spread=0.1).score_fn(VP())

    def counting(x, t):
        jax.debug.callback(lambda: calls.append(1))
        return score(x, t)

    run = CountingJit(lambda x, epsilon: log_likelihood(counting, VP(), x, epsilon, rtol=1e-4, atol=1e-4))
    epsilon = sample_probes("rademacher", example_keys(jax.random.key(0), 3), (3, 4))
    for scale in [0.1, 0.3]:
        calls.clear()
        found = run(scale * jnp.ones((3, 4)), epsilon)
        jax.block_until_ready(found)
        jax.effects_barrier()
        assert int(found.num_evals) == len(calls) > 40
    assert run.num_traces == 1


def test_a_failed_solve_is_not_a_number():
    found = log_likelihood(lambda x, t: x * jnp.nan, VP(), jnp.ones((2, 4)), jnp.ones((2, 4)))
    assert np.all(np.isnan(found.logp_nats)) and np.all(np.isnan(found.latent))
    assert int(found.num_evals) < 600  # it gives up when the steps vanish


def test_what_does_not_fit_is_refused():
    x = jnp.ones((2, 4))
    with pytest.raises(ValueError, match="epsilon has shape"):
        log_likelihood(lambda x, t: -x, VP(), x, x[:1])
    with pytest.raises(ValueError, match="rademacher, gaussian"):
        sample_probes("radermacher", example_keys(jax.random.key(0), 2), (2, 4))
    with pytest.raises(ValueError, match="one key per example"):
        sample_probes("gaussian", jax.random.key(0), (2, 4))


@pytest.mark.slow  # a minute: six solvers compiled for each SDE
@each
def test_the_result_depends_neither_on_the_coordinates_nor_on_the_solver(name):
    """A mixture, for which nothing stands still; the published way, in (t, x) with SciPy's RK45, as the reference."""
    sde, eps = CONTINUOUS[name], 1e-3
    data = Mixture((0.4, 0.6), (correlated(4, shift=1.0, seed=1), correlated(4, seed=2)))
    score_fn, x = data.score_fn(sde), data.parts[0].sample(0, (8, 4))
    probes = sample_probes("rademacher", example_keys(jax.random.key(0), 8), x.shape)
    rhs = jax.jit(lambda x, t, probes: drift_and_divergence(score_fn, sde, x, jnp.full(8, t, x.dtype), probes))
    exact_probes = np.asarray(probes, np.float64)

    def field(t, state):
        return np.concatenate(
            [np.asarray(a, np.float64).ravel() for a in rhs(state[:32].reshape(8, 4), t, exact_probes)]
        )

    start = np.concatenate([np.asarray(x, np.float64).ravel(), np.zeros(8)])
    with jax.enable_x64(True):
        final = solve_ivp(field, (eps, 1.0), start, rtol=1e-7, atol=1e-7).y[:, -1]
    reference = sde.prior_logp(jnp.asarray(final[:32].reshape(8, 4), jnp.float32)) + final[32:]
    options = [("dopri5", 0.5), ("dopri5", 0.2), ("dopri5", 2.0), ("bosh3", 0.5), ("tsit5", 0.5), ("dopri8", 0.5)]

    def solve_with(solver, data_std):
        return log_likelihood(score_fn, sde, x, probes, eps=eps, solver=solver, data_std=data_std).logp_nats

    for option, logp in jax.device_get(jax.jit(lambda: {o: solve_with(*o) for o in options})()).items():
        # A tolerance of 1e-5 over some tens of steps, as above.
        np.testing.assert_allclose(logp, reference, atol=2e-3, err_msg=str(option))


@each
def test_a_gaussian_of_the_deviation_of_the_coordinates_stands_still(name):
    """y does not move and only the volume changes, so the solve is exact and takes the fewest steps there are."""
    sde, s = CONTINUOUS[name], 0.5
    chart, x = FlowCoordinates(sde, 1e-3, s), s * jax.random.normal(jax.random.key(0), (4, 3))

    def exact_score(x, t):
        return -x / ((s * sde.mean_coeff(t)) ** 2 + sde.std(t) ** 2)[:, None]

    for u in np.linspace(*map(float, chart.ends), 7):
        velocity = chart.velocity(exact_score, x, jnp.asarray(u, jnp.float32))
        np.testing.assert_allclose(velocity, 0, atol=1e-5)  # a difference of two numbers of order one, in float32
        np.testing.assert_allclose(chart.coordinate(chart.time(jnp.float32(u))), u, atol=1e-5, rtol=1e-5)
    found = log_likelihood(exact_score, sde, x, jnp.ones_like(x), eps=1e-3, data_std=s)
    exact = Gaussian(np.zeros(3), s**2 * np.eye(3)).logp(sde, x, jnp.full(4, 1e-3))
    # The variance of the prior and that of the data at t = 1 are 4e-5 (VP) to 1e-4 (VE) apart.
    np.testing.assert_allclose(found.logp_nats, exact, atol=1e-3)
    assert int(found.num_evals) < 60

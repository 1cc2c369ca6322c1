"""Log-likelihood by the probability-flow ODE against the exact densities of Gaussian data."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from core.keys import example_keys
from corruption.predictions import from_score
from likelihood.dequantize import bits_per_dim
from likelihood.divergence import sample_probes
from likelihood.ode import drift_and_divergence, log_likelihood
from sde.flow import SOLVERS, FlowCoordinates
from sde.linear import Linear
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Gaussian, Mixture, correlated, jit_for_each
from tests.support.tracing import CountingJit

CONTINUOUS = {"vp": VP(), "subvp": SubVP(), "ve": VE(), "linear": Linear()}
each = pytest.mark.parametrize("name", CONTINUOUS)
# Four orthogonal probes of signs: the mean of epsilon epsilon^T over them is exactly the identity.
HADAMARD = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], np.float32)
SHAPE = (8, 2, 2, 1)
EPS = 1e-5
CENTERED, SHIFTED = correlated(4), correlated(4, shift=0.7, seed=3)
MIXTURE = Mixture((0.4, 0.6), (correlated(4, shift=1.0, seed=1), correlated(4, seed=2)))


def solve(data, sde, x):
    """The likelihoods for the four probes, the exact log p at eps [B], and that at t = 1 of the first latents [B]."""
    probes = jnp.asarray(HADAMARD).reshape(4, 1, *SHAPE[1:])
    stacked = jnp.repeat(x[None], 4, axis=0).reshape(-1, *SHAPE[1:])
    epsilon = jnp.broadcast_to(probes, (4, *x.shape)).reshape(stacked.shape)
    found = log_likelihood(data.predict(sde), sde, stacked, epsilon, eps=EPS)
    latent_logp = data.logp(sde, found.latent[: SHAPE[0]], jnp.ones(SHAPE[0]))
    return found, data.logp(sde, x, jnp.full(SHAPE[:1], EPS)), latent_logp


SOLVE_CENTERED, SOLVE_SHIFTED = (
    jit_for_each(CONTINUOUS, functools.partial(solve, data)) for data in (CENTERED, SHIFTED)
)


@each
def test_bits_per_dimension_are_those_of_the_closed_form(name):
    """A correlated Gaussian with mean zero, whose marginal at t = 1 is the prior to a few parts in 10^4."""
    found, exact, _ = SOLVE_CENTERED(name, CENTERED.sample(0, SHAPE))
    per_probe = np.asarray(found.logp_nats).reshape(4, -1)
    ours, closed = (bits_per_dim(a, 4, 256, True) for a in (per_probe.mean(0), np.asarray(exact)))
    # Solver's tolerance 1e-5, and the prior: a variance off by 1 / sigma_max^2 = 4e-4 (VE) or exp(-10) = 4e-5 (VP).
    np.testing.assert_allclose(ours, closed, atol=1e-3)
    assert np.all(np.std(per_probe, axis=0) > 0.01)  # correlated: a single probe would not suffice


@pytest.mark.parametrize(("solve", "data"), [(SOLVE_CENTERED, CENTERED), (SOLVE_SHIFTED, SHIFTED)])
def test_the_linear_path_takes_no_more_evaluations_than_sub_vp(solve, data):
    x = data.sample(0, SHAPE)
    assert int(solve("linear", x)[0].num_evals) <= int(solve("subvp", x)[0].num_evals)


@each
def test_change_of_variables_holds_point_by_point(name):
    """With a mean that the prior does not have: log p_eps(x) = log p_1(latent) + delta, p_1 the exact marginal."""
    found, exact, latent_logp = SOLVE_SHIFTED(name, SHIFTED.sample(1, SHAPE))
    prior_logp = np.asarray(CONTINUOUS[name].prior_logp(found.latent))
    mismatch = prior_logp[: SHAPE[0]] - latent_logp
    # rtol = atol = 1e-5 of about 30 steps, on log p of 10; float32 sums of logs of variances up to 2500.
    np.testing.assert_allclose(found.logp_nats.reshape(4, -1).mean(0) - mismatch, exact, atol=2e-3)
    np.testing.assert_allclose(found.prior_logp_nats, prior_logp, rtol=1e-6)
    np.testing.assert_allclose(found.logp_nats, found.prior_logp_nats + found.delta_logp_nats, rtol=1e-6)


def test_density_at_eps_is_nearly_that_of_smooth_data():
    """For smooth data the interval [0, eps] makes almost no difference, even for VE with noise of sigma_min there."""
    data = correlated(4)
    x = data.sample(0, (200, 4))
    logp = jit_for_each(CONTINUOUS, lambda sde, x: data.logp(sde, x, jnp.full(200, EPS)))
    gaps = {name: np.mean(data.data_logp(x) - logp(name, x)) for name in CONTINUOUS}
    # In expectation the divergence sum r^2 / 4 with r = 1e-4 / variance (VE); 200 examples and float32 leave 1e-3.
    assert all(abs(gap) < 1e-3 for gap in gaps.values())


@functools.partial(jit_for_each, CONTINUOUS)
def estimates(sde, x, t, *probes):
    """Drift and its Jacobian at one x, and the divergences estimated with several sets of probes."""
    predict = MIXTURE.predict(sde)
    jacobian = jax.jacfwd(lambda x: sde.probability_flow(predict, x[None], t)[0])(x[0])
    run = jax.vmap(lambda e: drift_and_divergence(predict, sde, x, t, e))
    found = [run(p[:, None]) for p in probes]
    return sde.probability_flow(predict, x, t), jacobian, found[0][0][0], [divergence for _, divergence in found]


@each
def test_divergence_is_unbiased_and_comes_with_the_drift(name):
    x, t = jnp.array([[0.3, -0.5, 0.2, 0.9]]), jnp.array([0.2])
    kinds, keys = ("rademacher", "gaussian"), example_keys(jax.random.key(5), 4000)
    probes = [sample_probes(kind, keys, (4000, 4)) for kind in kinds]
    expected, jacobian, drift, (orthogonal, *random) = estimates(name, x, t, jnp.asarray(HADAMARD), *probes)
    jacobian, trace = np.asarray(jacobian), np.trace(jacobian)
    np.testing.assert_allclose(drift, expected, rtol=1e-5, atol=1e-6)  # float32
    np.testing.assert_allclose(np.mean(orthogonal), trace, atol=1e-5 * np.abs(jacobian).sum())  # by orthogonality
    symmetric = jacobian + jacobian.T
    variances = np.sum((symmetric - np.diag(np.diag(symmetric))) ** 2) / 2, np.sum(symmetric**2) / 2
    for divergence, variance in zip(map(np.asarray, random), variances, strict=True):
        # Hutchinson's variance, and four standard errors of the mean of 4000.
        assert abs(divergence.mean() - trace) < 4 * math.sqrt(variance / 4000)
        assert divergence.var() == pytest.approx(variance, rel=0.25)


def test_probes_are_those_of_their_example():
    for kind in ["rademacher", "gaussian"]:
        keys = example_keys(jax.random.key(0), 2000)
        probes = np.asarray(sample_probes(kind, keys, (2000, 3)))
        np.testing.assert_array_equal(sample_probes(kind, keys[5:7], (2, 3)), probes[5:7])
        np.testing.assert_allclose(probes.T @ probes / 2000, np.eye(3), atol=4 * math.sqrt(2 / 2000))  # 4 std. errors
        assert kind == "gaussian" or set(np.unique(probes)) == {-1.0, 1.0}


def test_evaluations_are_counted_and_other_data_do_not_recompile():
    calls, predict = [], correlated(4, spread=0.1).predict(VP())

    def counting(x, t):
        jax.debug.callback(lambda: calls.append(1))
        return predict(x, t)

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
    run = jax.jit(lambda x: log_likelihood(from_score(lambda x, t: x * jnp.nan, VP()), VP(), x, jnp.ones_like(x)))
    found = run(jnp.ones((2, 4)))
    assert np.all(np.isnan(found.logp_nats)) and np.all(np.isnan(found.latent))
    assert int(found.num_evals) < 600  # it gives up when the steps vanish


def test_invalid_arguments_are_refused():
    x = jnp.ones((2, 4))
    with pytest.raises(ValueError, match="epsilon has shape"):
        log_likelihood(from_score(lambda x, t: -x, VP()), VP(), x, x[:1])
    with pytest.raises(ValueError, match="rademacher, gaussian"):
        sample_probes("radermacher", example_keys(jax.random.key(0), 2), (2, 4))
    with pytest.raises(ValueError, match="one key per example"):
        sample_probes("gaussian", jax.random.key(0), (2, 4))


def logp_of_mixture(solver, sde, x, probes, data_std):
    predict = MIXTURE.predict(sde)
    return log_likelihood(predict, sde, x, probes, eps=1e-3, solver=solver, data_std=data_std).logp_nats


BY_SOLVER = {name: jit_for_each(CONTINUOUS, functools.partial(logp_of_mixture, name)) for name in SOLVERS}


@functools.partial(jit_for_each, CONTINUOUS)
def rate(sde, x, t, probes):
    """Right-hand side of the published ODE in (t, x)."""
    return drift_and_divergence(MIXTURE.predict(sde), sde, x, jnp.full(8, t, x.dtype), probes)


@each
def test_the_result_depends_neither_on_the_coordinates_nor_on_the_solver(name):
    """A mixture, for which nothing stands still; the published method, SciPy's RK45 in (t, x), is the reference."""
    sde, x = CONTINUOUS[name], MIXTURE.parts[0].sample(0, (8, 4))
    probes = sample_probes("rademacher", example_keys(jax.random.key(0), 8), x.shape)
    exact_probes = np.asarray(probes, np.float64)

    def field(t, state):
        rates = rate(name, state[:32].reshape(8, 4), t, exact_probes)
        return np.concatenate([np.asarray(a, np.float64).ravel() for a in rates])

    start = np.concatenate([np.asarray(x, np.float64).ravel(), np.zeros(8)])
    with jax.enable_x64(True):
        final = solve_ivp(field, (1e-3, 1.0), start, rtol=1e-7, atol=1e-7).y[:, -1]
    reference = sde.prior_logp(jnp.asarray(final[:32].reshape(8, 4), jnp.float32)) + final[32:]
    options = [*((solver, 0.5) for solver in SOLVERS), ("dopri5", 0.2), ("dopri5", 2.0)]
    for solver, data_std in options:
        logp = BY_SOLVER[solver](name, x, probes, data_std)
        # A tolerance of 1e-5 over some tens of steps, as above.
        np.testing.assert_allclose(logp, reference, atol=2e-3, err_msg=f"{solver}, {data_std}")


@functools.partial(jit_for_each, CONTINUOUS)
def matched(sde, x, u):
    """With data N(0, s^2 I): dy/du at `u` [K], u(t(u)), the likelihood and the exact density at eps = 1e-3."""
    coordinates, data = FlowCoordinates(sde, 1e-3, 0.5), Gaussian(np.zeros(4), 0.5**2 * np.eye(4))
    predict = data.predict(sde)
    velocities = jax.lax.map(lambda u: coordinates.velocity(predict, x, u), u)
    back = jax.lax.map(lambda u: coordinates.coordinate(coordinates.time(u)), u)
    found = log_likelihood(predict, sde, x, jnp.ones_like(x), eps=1e-3, data_std=0.5)
    return velocities, back, found, data.logp(sde, x, jnp.full(4, 1e-3))


@each
def test_a_gaussian_with_the_standard_deviation_of_the_coordinates_stands_still(name):
    """y does not move and only the volume changes, so the solve is exact and takes the fewest steps there are."""
    u = jnp.linspace(*FlowCoordinates(CONTINUOUS[name], 1e-3, 0.5).ends, 7)
    velocities, back, found, exact = matched(name, 0.5 * jax.random.normal(jax.random.key(0), (4, 4)), u)
    np.testing.assert_allclose(velocities, 0, atol=1e-5)  # a difference of two numbers of order one, in float32
    np.testing.assert_allclose(back, u, atol=1e-5, rtol=1e-5)
    # The variance of the prior and that of the data at t = 1 are 4e-5 (VP) to 1e-4 (VE) apart.
    np.testing.assert_allclose(found.logp_nats, exact, atol=1e-3)
    assert int(found.num_evals) < 60

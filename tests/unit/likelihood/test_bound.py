"""The variational bound and the decoder at eps against closed forms of Gaussian data."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from likelihood.bound import entropy_nats, prior_nats, variational_bound
from likelihood.decoder import decode
from likelihood.divergence import Exact
from likelihood.ode import log_likelihood
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Mixture, correlated

pytestmark = pytest.mark.slow  # together a minute and a half; `make test` runs them

CONTINUOUS = {"vp": VP(), "subvp": SubVP(), "ve": VE()}
each = pytest.mark.parametrize("name", CONTINUOUS)
KEYS = example_keys(jax.random.key(0), 16)


def expected_logp(mean, cov, center, std):
    """E[log N(x; mean, cov)] over x ~ N(center [B, D], std^2 I), in double precision: [B]."""
    precision = np.linalg.inv(cov)
    y = center - mean
    squares = np.sum(y @ precision * y, axis=1) + std**2 * np.trace(precision)
    return -0.5 * (squares + np.linalg.slogdet(2 * math.pi * cov)[1])


def law(sde, x0, t):
    """Mean [B, D] and standard deviation of x_t given x0."""
    return float(sde.mean_coeff(jnp.asarray(t))) * np.asarray(x0, np.float64), float(sde.std(jnp.asarray(t)))


@each
def test_with_the_exact_score_the_gap_is_that_of_the_prior_example_by_example(name):
    """bound(x0) = E[-log p_eps(x_eps)] + E[log p_1(x_1) - log prior(x_1)], all Gaussian; K = 2000 times each."""
    sde, data, eps = CONTINUOUS[name], correlated(4, shift=0.7), 1e-3
    x0 = data.sample(0, (16, 4))
    found = jax.jit(lambda x0: variational_bound(data.score_fn(sde), sde, x0, KEYS, eps=eps, num_times=2000))(x0)
    density = expected_logp(*data.moments(sde, eps), *law(sde, x0, eps))
    at_one = law(sde, x0, 1.0)
    gap = expected_logp(*data.moments(sde, 1.0), *at_one)
    gap -= expected_logp(np.zeros(4), sde.prior_std**2 * np.eye(4), *at_one)
    # Five standard errors; VE's table of 4096 times and float32 leave 2e-3.
    np.testing.assert_array_less(np.abs(found.nats - (gap - density)), 5 * found.standard_error_nats + 2e-3)
    assert np.all(found.standard_error_nats < 0.5) and int(found.num_evals) == 2000
    assert abs(float(np.mean(found.nats - (gap - density)))) < 5 * float(found.standard_error_nats.mean()) / 4 + 2e-3
    # The prior's part alone, and that the mismatch is small: a few parts in 10^4, times |mean|^2.
    np.testing.assert_allclose(found.prior_nats, prior_nats(sde, x0), rtol=1e-6)
    assert np.all(np.abs(gap) < 0.01)


def sampled_variance(sde, score_coeff, eps):
    """Variance at eps of the reverse SDE with the score -score_coeff(t) x, by fine steps in log t; double precision."""
    times = np.geomspace(1.0, eps, 20_001)
    middle = np.sqrt(times[1:] * times[:-1])
    f, g = (np.asarray(a(jnp.asarray(middle)), np.float64) for a in (sde.drift_coeff, sde.diffusion))
    a, variance = np.array([score_coeff(t) for t in middle]), sde.prior_std**2
    for step, rate, noise in zip(times[:-1] - times[1:], 2 * (-f - g**2 * a), g**2, strict=True):
        factor = math.exp(rate * step)  # dV / d(1 - t) = rate V + noise, exactly for constant coefficients
        variance = variance * factor + noise * (factor - 1) / rate
    return variance


@each
@pytest.mark.parametrize("wrong", [0.7, 1.3])
def test_it_bounds_the_likelihood_of_the_sampling_sde_for_a_wrong_score(name, wrong):
    """A score that is too small or too large: samples are Gaussian, of a variance that an ODE of moments gives."""
    sde, eps = CONTINUOUS[name], 1e-2
    x0 = 0.5 * jax.random.normal(jax.random.key(1), (16, 4))

    def coeff(t):
        return wrong / (0.25 * sde.mean_coeff(t) ** 2 + sde.std(t) ** 2)

    with jax.enable_x64(True):
        table = np.geomspace(eps, 1.0, 2000)
        values = np.asarray(jax.vmap(coeff)(jnp.asarray(table)))
    variance = sampled_variance(sde, lambda t: np.interp(t, table, values), eps)
    found = jax.jit(
        lambda x0: variational_bound(lambda x, t: -coeff(t)[:, None] * x, sde, x0, KEYS, eps=eps, num_times=1000)
    )(x0)
    density = expected_logp(np.zeros(4), variance * np.eye(4), *law(sde, x0, eps))
    slack = found.nats + density
    error = float(found.standard_error_nats.mean()) / 4  # of the mean over 16 independent examples
    assert float(slack.mean()) > 5 * error, "a bound, and not tight"
    assert np.all(slack > -5 * found.standard_error_nats)


@each
def test_the_decoder_extends_the_model_to_time_zero_and_the_estimate_bounds_it(name):
    """With a Gaussian at eps and a linear decoder the density at 0 is Gaussian too: A C A^T + (std / m)^2 I."""
    sde, data, eps = CONTINUOUS[name], correlated(4, shift=0.7), 0.2
    x0, score_fn = data.sample(0, (16, 4)), data.score_fn(sde)
    z = jax.random.normal(jax.random.key(1), (500, 16, 4))

    def decoded(z):
        x, decoder = decode(score_fn, sde, x0, z, eps=eps)
        return data.logp(sde, x, jnp.full(16, eps)) + decoder

    each_z = np.asarray(jax.jit(jax.vmap(decoded))(z), np.float64)
    mean, cov = data.moments(sde, eps)
    m, std = float(sde.mean_coeff(jnp.asarray(eps))), float(sde.std(jnp.asarray(eps)))
    inverse = np.linalg.inv(cov)
    A = (np.eye(4) - std**2 * inverse) / m  # (x + std^2 score) / m = A x + b
    b = std**2 * inverse @ mean / m
    model = A @ cov @ A.T + (std / m) ** 2 * np.eye(4)
    exact = expected_logp(A @ mean + b, model, np.asarray(x0, np.float64), 0.0)
    error = each_z.std(axis=0) / 500**0.5
    assert np.all(each_z.mean(axis=0) < exact + 4 * error)
    # Importance sampling makes it an equality: E[p_eps(x) p(x0 | x) / q(x | x0)] = p(x0).
    ratio = np.exp(each_z - exact)
    np.testing.assert_array_less(np.abs(ratio.mean(axis=0) - 1), 5 * ratio.std(axis=0) / 500**0.5)
    # No model is better on average than the data's own density, which for smooth data it comes close to.
    assert each_z.mean() < data.data_logp(np.asarray(x0)).mean() + 4 * error.mean()


@each
def test_decoded_bound_is_the_decoded_likelihood_for_the_exact_score(name):
    """Both are E[log p_eps(x_eps) + log p(x0 | x_eps) - log q]; the ODE's with one x_eps of each example."""
    sde, data, eps = CONTINUOUS[name], correlated(4), 0.05
    x0, score_fn = data.sample(0, (16, 4)), data.score_fn(sde)
    z = jax.random.normal(jax.random.key(1), (16, 4))

    @jax.jit
    def run(x0):
        x, decoder = decode(score_fn, sde, x0, z, eps=eps)
        bound = variational_bound(score_fn, sde, x0, KEYS, eps=eps, num_times=500, decoded=True)
        return log_likelihood(score_fn, sde, x, Exact(), eps=eps).logp_nats + decoder, bound

    logp, bound = run(x0)
    assert int(bound.num_evals) == 1000
    np.testing.assert_allclose(
        bound.nats, bound.prior_nats + bound.diffusion_nats + bound.reconstruction_nats, rtol=1e-5, atol=1e-5
    )
    sampled = x0 * float(sde.mean_coeff(jnp.asarray(eps))) + float(sde.std(jnp.asarray(eps))) * z
    decoder = decode(score_fn, sde, x0, z, eps=eps)[1]
    np.testing.assert_allclose(logp, data.logp(sde, sampled, jnp.full(16, eps)) + decoder, atol=4e-3)
    # One x_eps of each of 16 examples: the spread between them is that of z.
    difference = np.asarray(logp + bound.nats)
    assert abs(difference.mean()) < 5 * difference.std() / 4


def test_the_control_variate_takes_out_most_of_the_variance_and_no_expectation():
    """The exact score of a Gaussian of deviation s: nothing of |z|^2 is left."""
    sde, s = VP(), 0.5
    x0 = s * jax.random.normal(jax.random.key(1), (16, 8))

    def exact_score(x, t):
        return -x / (s**2 * sde.mean_coeff(t) ** 2 + sde.std(t) ** 2)[:, None]

    def bound(data_std):
        return variational_bound(exact_score, sde, x0, KEYS, eps=1e-4, num_times=500, data_std=data_std)

    matched, off, none = jax.jit(lambda: [bound(a) for a in (s, 1.0, 1e-6)])()
    errors = [float(b.standard_error_nats.mean()) for b in (matched, off, none)]
    assert errors[0] < 0.7 * errors[2] and errors[1] < 0.9 * errors[2], errors
    for b in (off, none):
        difference = b.nats - matched.nats
        assert np.all(np.abs(difference) < 5 * (b.standard_error_nats + matched.standard_error_nats))


def test_it_bounds_for_a_mixture_on_average():
    """E[-log p] is at least the entropy, of which samples give an estimate; with the exact score it is near."""
    sde, data = VP(), Mixture((0.3, 0.7), (correlated(4, shift=1.0), correlated(4, shift=1.0, seed=2)))
    x0 = jnp.concatenate(
        [part.sample(i, (n, 4)) for i, (part, n) in enumerate(zip(data.parts, (77, 179), strict=True))]
    )
    keys = example_keys(jax.random.key(0), 256)
    found = jax.jit(lambda x0: variational_bound(data.score_fn(sde), sde, x0, keys, eps=1e-3, num_times=64))(x0)
    exact = -data.logp(
        sde, sde.perturb(x0, jnp.full(256, 1e-3), jax.random.normal(jax.random.key(1), x0.shape)), jnp.full(256, 1e-3)
    )
    difference = np.asarray(found.nats - exact)
    assert abs(difference.mean()) < 5 * difference.std() / 16


def test_entropy_and_refusals():
    assert float(entropy_nats(3, jnp.asarray(2.0))) == pytest.approx(1.5 * math.log(2 * math.pi * math.e * 4), rel=1e-6)
    with pytest.raises(ValueError, match="one key each"):
        variational_bound(lambda x, t: -x, VP(), jnp.ones((2, 3)), KEYS)
    found = variational_bound(lambda x, t: -x, VP(), jnp.ones((2, 3)), KEYS[:2])
    assert np.all(np.isnan(found.standard_error_nats)) and np.all(np.isfinite(found.nats))

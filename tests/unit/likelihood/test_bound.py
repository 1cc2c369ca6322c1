"""The variational bound and the decoder at eps against closed forms of Gaussian data."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from corruption.gaussian import GaussianNoise
from corruption.predictions import from_score
from likelihood.bound import entropy_nats, variational_bound
from likelihood.decoder import decode
from likelihood.divergence import Exact
from likelihood.ode import log_likelihood
from sde.linear import Linear
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Gaussian, Mixture, correlated, jit_for_each

CONTINUOUS = {"vp": VP(), "subvp": SubVP(), "ve": VE(), "linear": Linear()}
each = pytest.mark.parametrize("name", CONTINUOUS)
KEYS = example_keys(jax.random.key(0), 16)
SHIFTED = correlated(4, shift=0.7)


def expected_logp(mean, cov, center, std):
    """E[log N(x; mean, cov)] over x ~ N(center [B, D], std^2 I), in double precision: [B]."""
    precision = np.linalg.inv(cov)
    y = center - mean
    squares = np.sum(y @ precision * y, axis=1) + std**2 * np.trace(precision)
    return -0.5 * (squares + np.linalg.slogdet(2 * math.pi * cov)[1])


def law(sde, x0, t):
    """Mean [B, D] and standard deviation of x_t given x0."""
    return float(sde.mean_coeff(jnp.asarray(t))) * np.asarray(x0, np.float64), float(sde.std(jnp.asarray(t)))


@functools.partial(jit_for_each, CONTINUOUS)
def bound_of_exact_score(sde, x0):
    """The bound with the exact score of the shifted Gaussian, and the prior's part alone."""
    bound = variational_bound(SHIFTED.predict(sde), sde, x0, KEYS, eps=1e-3, num_times=2000)
    return bound, GaussianNoise(sde).prior_nats(x0)


@each
def test_with_the_exact_score_the_gap_is_that_of_the_prior_example_by_example(name):
    """bound(x0) = E[-log p_eps(x_eps)] + E[log p_1(x_1) - log prior(x_1)], all Gaussian; K = 2000 times each."""
    sde, eps, x0 = CONTINUOUS[name], 1e-3, SHIFTED.sample(0, (16, 4))
    found, prior = bound_of_exact_score(name, x0)
    density = expected_logp(*SHIFTED.moments(sde, eps), *law(sde, x0, eps))
    at_one = law(sde, x0, 1.0)
    gap = expected_logp(*SHIFTED.moments(sde, 1.0), *at_one)
    gap -= expected_logp(np.zeros(4), sde.prior_std**2 * np.eye(4), *at_one)
    error, difference = np.asarray(found.standard_error_nats), np.asarray(found.nats) - (gap - density)
    # Five standard errors; VE's table of 4096 times and float32 leave 2e-3.
    np.testing.assert_array_less(np.abs(difference), 5 * error + 2e-3)
    assert np.all(error < 0.5) and int(found.num_evals) == 2000
    assert abs(difference.mean()) < 5 * error.mean() / 4 + 2e-3
    # The prior's part alone; and the mismatch is small, a few parts in 10^4 times |mean|^2.
    np.testing.assert_allclose(found.prior_nats, prior, rtol=1e-6)
    assert np.all(np.abs(gap) < 0.01)


def sampled_variance(sde, score_coeff, eps):
    """Variance at eps of the reverse SDE with the score -score_coeff(t) x, from fine steps in log t in float64."""
    times = np.geomspace(1.0, eps, 20_001)
    middle = np.sqrt(times[1:] * times[:-1])
    f, g = (np.asarray(a(jnp.asarray(middle)), np.float64) for a in (sde.drift_coeff, sde.diffusion))
    a, variance = np.array([score_coeff(t) for t in middle]), sde.prior_std**2
    for step, rate, noise in zip(times[:-1] - times[1:], 2 * (-f - g**2 * a), g**2, strict=True):
        factor = math.exp(rate * step)  # dV / d(1 - t) = rate V + noise, exactly for constant coefficients
        variance = variance * factor + noise * (factor - 1) / rate
    return variance


def wrong_coeff(sde, t, wrong):
    """The score of a wrong model of N(0, I / 4) is -coeff(t) x; exact for `wrong` = 1."""
    return wrong / (0.25 * sde.mean_coeff(t) ** 2 + sde.std(t) ** 2)


@functools.partial(jit_for_each, CONTINUOUS)
def bound_of_wrong_score(sde, x0, wrong):
    def score_fn(x, t):
        return -wrong_coeff(sde, t, wrong)[:, None] * x

    return variational_bound(from_score(score_fn, sde), sde, x0, KEYS, eps=1e-2, num_times=1000)


@each
@pytest.mark.parametrize("wrong", [0.7, 1.3])
def test_it_bounds_the_likelihood_of_the_sampling_sde_for_a_wrong_score(name, wrong):
    """A score that is too small or too large: samples are Gaussian, with a variance given by an ODE of moments."""
    sde, eps = CONTINUOUS[name], 1e-2
    x0 = 0.5 * jax.random.normal(jax.random.key(1), (16, 4))
    with jax.enable_x64(True):
        table = np.geomspace(eps, 1.0, 2000)
        values = np.asarray(wrong_coeff(sde, jnp.asarray(table), wrong))
    variance = sampled_variance(sde, lambda t: np.interp(t, table, values), eps)
    found = bound_of_wrong_score(name, x0, wrong)
    density = expected_logp(np.zeros(4), variance * np.eye(4), *law(sde, x0, eps))
    slack, each_error = np.asarray(found.nats) + density, np.asarray(found.standard_error_nats)
    error = float(each_error.mean()) / 4  # of the mean over 16 independent examples
    assert float(slack.mean()) > 5 * error, "a bound, and not tight"
    assert np.all(slack > -5 * each_error)


@functools.partial(jit_for_each, CONTINUOUS)
def decoded_logp(sde, x0, z):
    """log p_eps(x) and the decoder's term at eps = 0.2, for each noise of z [K, B, D]."""

    def one(z):
        x, decoder = decode(SHIFTED.predict(sde), sde, x0, z, eps=0.2)
        return SHIFTED.logp(sde, x, jnp.full(16, 0.2)) + decoder

    return jax.vmap(one)(z)


@each
def test_the_decoder_extends_the_model_to_time_zero_and_the_estimate_bounds_it(name):
    """With a Gaussian at eps and a linear decoder the density at 0 is Gaussian too: A C A^T + (std / m)^2 I."""
    sde, eps, x0 = CONTINUOUS[name], 0.2, SHIFTED.sample(0, (16, 4))
    each_z = np.asarray(decoded_logp(name, x0, jax.random.normal(jax.random.key(1), (500, 16, 4))), np.float64)
    mean, cov = SHIFTED.moments(sde, eps)
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
    assert each_z.mean() < SHIFTED.data_logp(np.asarray(x0)).mean() + 4 * error.mean()


@functools.partial(jit_for_each, CONTINUOUS)
def decoded_both_ways(sde, x0, z):
    """At eps = 0.05: log-likelihood at a sample, its closed form, the decoder's term, and the decoded bound."""
    data, eps = correlated(4), 0.05
    predict = data.predict(sde)
    x, decoder = decode(predict, sde, x0, z, eps=eps)
    bound = variational_bound(predict, sde, x0, KEYS, eps=eps, num_times=500, decoded=True)
    closed = data.logp(sde, sde.mean_coeff(eps) * x0 + sde.std(eps) * z, jnp.full(16, eps))
    return log_likelihood(predict, sde, x, Exact(), eps=eps).logp_nats, closed, decoder, bound


@each
def test_decoded_bound_is_the_decoded_likelihood_for_the_exact_score(name):
    """Both are E[log p_eps(x_eps) + log p(x0 | x_eps) - log q]; that of the ODE has one x_eps of each example."""
    x0, z = correlated(4).sample(0, (16, 4)), jax.random.normal(jax.random.key(1), (16, 4))
    logp, closed, decoder, bound = decoded_both_ways(name, x0, z)
    assert int(bound.num_evals) == 1000
    np.testing.assert_allclose(
        bound.nats, bound.prior_nats + bound.diffusion_nats + bound.reconstruction_nats, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(logp, closed, atol=4e-3)
    # One x_eps of each of 16 examples: the spread between them is that of z.
    difference = np.asarray(logp + decoder + bound.nats)
    assert abs(difference.mean()) < 5 * difference.std() / 4


def test_the_control_variate_removes_most_of_the_variance_and_changes_no_expectation():
    """The exact score of a Gaussian with standard deviation s: nothing of |z|^2 is left."""
    sde, s = VP(), 0.5
    x0 = s * jax.random.normal(jax.random.key(1), (16, 4))

    predict = Gaussian(np.zeros(4), s**2 * np.eye(4)).predict(sde)

    @jax.jit
    def bound(data_std):
        return variational_bound(predict, sde, x0, KEYS, eps=1e-4, num_times=500, data_std=data_std)

    matched, off, none = (bound(a) for a in (s, 1.0, 1e-6))
    errors = [float(b.standard_error_nats.mean()) for b in (matched, off, none)]
    assert errors[0] < 0.7 * errors[2] and errors[1] < 0.9 * errors[2], errors
    for b in (off, none):
        difference = b.nats - matched.nats
        assert np.all(np.abs(difference) < 5 * (b.standard_error_nats + matched.standard_error_nats))


def test_it_bounds_for_a_mixture_on_average():
    """E[-log p] is at least the entropy, which samples estimate; with the exact score it is close to it."""
    sde, data = VP(), Mixture((0.3, 0.7), (correlated(4, shift=1.0), correlated(4, shift=1.0, seed=2)))
    x0 = jnp.concatenate(
        [part.sample(i, (n, 4)) for i, (part, n) in enumerate(zip(data.parts, (77, 179), strict=True))]
    )
    keys = example_keys(jax.random.key(0), 256)
    t = jnp.full(256, 1e-3)

    @jax.jit
    def run(x0, z):
        bound = variational_bound(data.predict(sde), sde, x0, keys, eps=1e-3, num_times=64)
        return bound.nats + data.logp(sde, sde.perturb(x0, t, z), t)

    difference = np.asarray(run(x0, jax.random.normal(jax.random.key(1), x0.shape)))
    assert abs(difference.mean()) < 5 * difference.std() / 16


def test_entropy_and_refusals():
    assert float(entropy_nats(3, jnp.asarray(2.0))) == pytest.approx(1.5 * math.log(2 * math.pi * math.e * 4), rel=1e-6)
    predict = from_score(lambda x, t: -x, VP())
    with pytest.raises(ValueError, match="one key each"):
        variational_bound(predict, VP(), jnp.ones((2, 3)), KEYS)
    found = jax.jit(lambda x: variational_bound(predict, VP(), x, KEYS[:2]))(jnp.ones((2, 3)))
    assert np.all(np.isnan(found.standard_error_nats)) and np.all(np.isfinite(found.nats))

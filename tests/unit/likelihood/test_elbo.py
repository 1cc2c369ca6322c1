"""The estimate of the bound of categories, and its standard error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from corruption import terms
from corruption.categorical import Absorbing, Uniform
from corruption.gaussian import GaussianNoise
from corruption.predictions import Gaussian
from corruption.schedules import Cosine, Polynomial, uniform_noise
from likelihood.bound import variational_bound
from likelihood.elbo import elbo, of_known
from sampling import grids
from sde.ve import VE
from sde.vp import VP
from tests.support.joint import Joint
from tests.support.oracles import correlated

TABLE = np.random.default_rng(2).dirichlet(np.full(27, 0.5)).reshape(3, 3, 3)
X0, NUM = (0, 2, 1), 2000
PROCESSES = {"absorbing": Absorbing(3, Polynomial()), "uniform": Uniform(3, Cosine())}


def estimate(process, term, num_times):
    x0 = jnp.broadcast_to(jnp.array(X0), (NUM, 3))
    joint, keys = Joint(process, TABLE), example_keys(jax.random.key(1), NUM)
    return jax.jit(lambda keys: elbo(joint.predict, process, term, x0, keys, num_times=num_times))(keys)


@pytest.mark.parametrize("name", PROCESSES)
def test_the_mean_is_the_likelihood_for_exact_predictions_and_the_error_is_the_deviation(name):
    process = PROCESSES[name]
    found = estimate(process, terms.continuous(process, uniform_noise(process.schedule)), 16)
    assert int(found.num_evals) == 16
    nats, error = np.asarray(found.nats, np.float64), np.asarray(found.standard_error_nats, np.float64)
    deviation = nats.std()
    if name == "absorbing":  # exact for every x0, not only in the mean over the data
        assert nats.mean() == pytest.approx(-np.log(TABLE[X0]), abs=5 * deviation / np.sqrt(NUM))
    assert 0.7 * deviation < np.sqrt(np.mean(error**2)) < 1.6 * deviation  # somewhat too large, as the strata differ


def test_the_bound_of_known_sites_is_their_marginal_likelihood():
    """Of a masking process with exact predictions, for every example."""
    process, known = PROCESSES["absorbing"], jnp.array([True, False, True])
    x0 = jnp.broadcast_to(jnp.array(X0), (NUM, 3))
    term = terms.continuous(process, uniform_noise(process.schedule))
    predict = of_known(Joint(process, TABLE).predict, process, x0, jnp.broadcast_to(known, x0.shape))
    nats = jax.jit(lambda keys: elbo(predict, process, term, x0, keys, num_times=8).nats)(
        example_keys(jax.random.key(6), NUM)
    )
    expected = -np.log(TABLE.sum(axis=1)[X0[0], X0[2]])
    assert float(nats.mean()) == pytest.approx(expected, abs=5 * float(nats.std()) / np.sqrt(NUM))


def test_a_grid_of_few_steps_has_a_larger_bound():
    process = PROCESSES["absorbing"]
    bounds = [estimate(process, terms.discrete(process, np.linspace(0, 1, T + 1)), 8).nats for T in (1, 4, 64)]
    means, errors = [float(b.mean()) for b in bounds], [float(b.std()) / np.sqrt(NUM) for b in bounds]
    independent = -sum(np.log(TABLE.sum(axis=tuple(a for a in range(3) if a != d))[X0[d]]) for d in range(3))
    assert means[0] == pytest.approx(independent, abs=5 * errors[0] + 1e-4)  # all sites at once
    assert abs(means[2] + np.log(TABLE[X0])) < abs(means[0] + np.log(TABLE[X0]))


@pytest.mark.parametrize("sde", [VP(), VE(sigma_max=10.0)], ids=["vp", "ve"])
def test_the_steps_of_gaussian_noise_have_the_bound_in_continuous_time_as_their_limit(sde):
    """Steps down to eps and the prior, each counted once; what remains of the bound is the entropy at eps."""
    data, eps, process = correlated(4), 1e-2, GaussianNoise(sde)
    x0, keys = data.sample(0, (NUM, 4)), example_keys(jax.random.key(3), NUM)
    predict = data.predict(sde)
    limit = jax.jit(lambda keys: variational_bound(predict, sde, x0, keys, eps=eps, num_times=64))(keys)
    expected = limit.prior_nats + limit.diffusion_nats
    gaps = []
    for num in (8, 64):
        term = terms.discrete(process, grids.log_snr(sde, num, eps)[::-1])
        found = jax.jit(lambda keys, term=term, num=num: elbo(predict, process, term, x0, keys, num_times=num))(keys)
        difference = np.asarray(found.nats - expected, np.float64)
        gaps.append((difference.mean(), difference.std() / np.sqrt(NUM)))
    (first, error), (second, second_error) = gaps
    # The sum over steps is an integral by its larger ends: its error falls with the length of the steps.
    assert first > 10 * error and abs(second - first / 8) < 0.05 * first + 5 * second_error, gaps


def test_a_step_of_gaussian_noise_is_the_divergence_of_two_normal_distributions():
    """KL(N(a, s^2) | N(b, s^2)) = |a - b|^2 / (2 s^2) for the posteriors given the data and given the prediction."""
    process, t, t_next = GaussianNoise(VP()), jnp.array([0.3, 0.9]), jnp.array([0.2, 0.5])
    x0, z, off = jax.random.normal(jax.random.key(4), (3, 2, 5))
    x, target = process.sde.perturb(x0, t, z), Gaussian(x0, z)
    m, std = process.sde.mean_coeff(t)[:, None], process.sde.std(t)[:, None]
    predicted = Gaussian(x0 - std / m * off, z + off)  # of the same x
    (a, spread), (b, _) = (process.posterior(given, t, t_next) for given in (target, predicted))
    expected = np.sum(((a - b) / spread) ** 2, axis=1) / 2
    np.testing.assert_allclose(process.step_nats(predicted, x0, x, t, t_next), expected, rtol=1e-3)
    np.testing.assert_allclose(process.step_nats(target, x0, x, t, t_next), 0, atol=1e-6)

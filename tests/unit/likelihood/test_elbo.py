"""The estimate of the bound of categories, and its standard error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from corruption import terms
from corruption.categorical import Absorbing, Uniform
from corruption.schedules import Cosine, Polynomial, uniform_noise
from likelihood.elbo import elbo
from tests.support.joint import Joint

TABLE = np.random.default_rng(2).dirichlet(np.full(27, 0.5)).reshape(3, 3, 3)
X0, NUM = (0, 2, 1), 2000
PROCESSES = {"absorbing": Absorbing(3, Polynomial()), "uniform": Uniform(3, Cosine())}


def estimate(process, term, num_times):
    x0 = jnp.broadcast_to(jnp.array(X0), (NUM, 3))
    joint, keys = Joint(process, TABLE), example_keys(jax.random.key(1), NUM)
    return jax.jit(lambda keys: elbo(joint.predict, term, x0, keys, num_times=num_times))(keys)


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


def test_a_grid_of_few_steps_has_a_larger_bound():
    process = PROCESSES["absorbing"]
    bounds = [estimate(process, terms.discrete(process, T), 8).nats for T in (1, 4, 64)]
    means, errors = [float(b.mean()) for b in bounds], [float(b.std()) / np.sqrt(NUM) for b in bounds]
    independent = -sum(np.log(TABLE.sum(axis=tuple(a for a in range(3) if a != d))[X0[d]]) for d in range(3))
    assert means[0] == pytest.approx(independent, abs=5 * errors[0] + 1e-4)  # all sites at once
    assert abs(means[2] + np.log(TABLE[X0])) < abs(means[0] + np.log(TABLE[X0]))

"""The probability of levels under a normal distribution."""

import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from likelihood.cells import log_probability_nats


def probabilities(mean, std, num_levels=5):
    levels = jnp.arange(num_levels)[None]
    centers = (2 * levels + 1) / num_levels - 1
    mean, std = jnp.full(levels.shape, mean), jnp.float32(std)
    return np.asarray(log_probability_nats(levels, mean, std, centers, 1 / num_levels, num_levels))[0]


def test_they_are_differences_of_the_distribution_function_and_add_up_to_one():
    for mean, std in ((0.1, 0.3), (-0.8, 0.05), (2.0, 1.0)):
        found = np.exp(probabilities(mean, std))
        ends = norm.cdf((np.linspace(-1, 1, 6)[1:-1] - mean) / std)
        np.testing.assert_allclose(found, np.diff([0, *ends, 1]), atol=2e-6)  # float32, and 1e-7 of the difference
        assert abs(found.sum() - 1) < 1e-5


def test_far_away_they_are_small_and_finite():
    found = probabilities(0.9, 0.01)
    assert np.isfinite(found).all() and found[0] < -1000 and found[4] > -1e-3
    np.testing.assert_allclose(probabilities(-0.9, 0.01)[::-1], found, rtol=1e-5)

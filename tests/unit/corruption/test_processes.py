"""What every corruption process does: its marginals, and the errors of predictions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from corruption.gaussian import GaussianNoise
from corruption.predictions import Categorical, Gaussian
from sde.cosine import Cosine
from sde.ve import VE
from sde.vp import VP
from tests.support.categorical import Absorbing

NUM = 4000
KEYS = example_keys(jax.random.key(0), NUM)


def test_gaussian_noise_has_the_marginals_of_its_sde():
    sde, x0, t = VP(), jnp.full((NUM, 2), 0.7), jnp.full(NUM, 0.4)
    x, target = GaussianNoise(sde).corrupt(KEYS, x0, t)
    m, std = float(sde.mean_coeff(t[0])), float(sde.std(t[0]))
    assert float(x.mean()) == pytest.approx(0.7 * m, abs=5 * std / np.sqrt(2 * NUM))
    assert float(x.std()) == pytest.approx(std, rel=5 / np.sqrt(4 * NUM))
    np.testing.assert_allclose(x, m * target.x0 + std * target.noise, rtol=1e-5, atol=1e-6)


def test_absorbed_sites_are_as_many_as_the_time_says():
    process, x0, t = Absorbing(5), jnp.ones((NUM, 2), jnp.int32), jnp.full(NUM, 0.3)
    x, target = process.corrupt(KEYS, x0, t)
    assert float(jnp.mean(x == 5)) == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / (2 * NUM)))
    assert bool(jnp.all((x == 5) | (x == 1)))
    log_probs = jnp.log(jax.nn.one_hot(target, 5))
    np.testing.assert_array_equal(process.error(Categorical(log_probs), target, t), 0)


@pytest.mark.parametrize("sde", [VP(), VE(), Cosine(log_snr_min=-23.0)], ids=["vp", "ve", "cosine"])
def test_the_error_of_a_prediction_keeps_its_digits_at_every_noise_level(sde):
    """A prediction that is off by e in the noise is off by -(std / mean_coeff) e in the data, and the reverse."""
    t = jnp.array([1e-3, 0.1, 0.5, 0.9, 1.0])
    x0, z = jax.random.normal(jax.random.key(1), (2, 5, 64))
    m, std = np.asarray(sde.mean_coeff(t), np.float64)[:, None], np.asarray(sde.std(t), np.float64)[:, None]
    a = np.sqrt(m**2 + std**2)
    off = 0.3  # of the velocity: m / a of the noise, -std / a of the data
    fields = (np.asarray(x0, np.float64) - std / a * off, np.asarray(z, np.float64) + m / a * off)
    predicted = Gaussian(*(jnp.asarray(field, jnp.float32) for field in fields))
    found = GaussianNoise(sde).error(predicted, Gaussian(x0, z), t)
    np.testing.assert_allclose(found, np.broadcast_to(m / a * off, found.shape), rtol=2e-5)  # 2^-24 of 4, over 0.2

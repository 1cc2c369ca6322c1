"""Samplers that start from data with noise: the time, the distribution there, and the posterior that they find."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sampling import grids
from sampling.noised import at_noise, time_of_noise
from sampling.pc import pc
from sampling.steps.ancestral import ancestral
from sampling.steps.none import none
from sde.chain import ddpm_chain, smld_chain
from sde.cosine import Cosine
from sde.edm import EDM
from sde.linear import Linear
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import correlated

SDES = {"vp": VP(), "subvp": SubVP(), "ve": VE(), "edm": EDM(), "cosine": Cosine(), "linear": Linear()}
CHAINS = {"ddpm": ddpm_chain(0.1, 20.0, 100), "smld": smld_chain(0.01, 50.0, 100)}


@pytest.mark.parametrize("name", SDES)
def test_the_time_of_a_noise_has_it(name):
    sde = SDES[name]
    for noise_std in (0.05, 0.5, 3.0):
        t = np.array([time_of_noise(sde, noise_std)])
        assert grids.noise_level(sde, t)[0] == pytest.approx(noise_std, rel=2e-3)  # the SDE is in float32


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_has_a_level_with_at_least_the_noise(name):
    chain = CHAINS[name]
    t = time_of_noise(chain, 0.5)
    level = int(chain.index(jnp.asarray(t, jnp.float32)))
    below, found = grids.noise_level(chain, np.asarray(chain.time(jnp.array([level - 1, level])), np.float32))
    assert below < 0.5 <= found


def test_noise_that_a_process_never_has_is_refused():
    for noise_std in (0.0, 1e4):
        with pytest.raises(ValueError, match=f"deviation of {noise_std:g}, as the network sees it, is not among"):
            time_of_noise(VP(), noise_std)


def test_noisy_data_get_only_the_noise_that_they_lack():
    """At a time of more noise than the data have, the rest is added; the whole has the variance of x_t."""
    sde, noise_std = VP(), 0.4
    t = time_of_noise(sde, 0.7)
    m, std = float(sde.mean_coeff(jnp.asarray(t))), float(sde.std(jnp.asarray(t)))
    x, z = jnp.ones((1, 4)), jnp.ones((1, 4))
    found = np.asarray(at_noise(sde, t, x, noise_std, z))
    np.testing.assert_allclose((found - m) ** 2 + (m * noise_std) ** 2, std**2, rtol=1e-5)
    exact = at_noise(sde, time_of_noise(sde, noise_std), x, noise_std, z)
    np.testing.assert_allclose(exact, float(sde.mean_coeff(jnp.asarray(time_of_noise(sde, noise_std)))), atol=0.01)


@pytest.mark.parametrize("name", ["vp", "ve"])
def test_samples_from_noisy_data_are_those_of_the_posterior(name):
    """Data N(mean, C) and y = x + noise: N(mean + C (C + s^2)^-1 (y - mean), C - C (C + s^2)^-1 C)."""
    sde, data, noise_std, num = SDES[name], correlated(4, shift=0.5), 0.5, 4000
    y = data.sample(0, (1, 4)) + noise_std * jax.random.normal(jax.random.key(1), (1, 4))
    gain = data.cov @ np.linalg.inv(data.cov + noise_std**2 * np.eye(4))
    mean, cov = data.mean + gain @ (np.asarray(y)[0] - data.mean), data.cov - gain @ data.cov
    t = time_of_noise(sde, noise_std)
    sampler = pc(sde, ancestral(), none(), grids.log_snr(sde, 200, 1e-3 if name == "vp" else 1e-5))
    x_t = jnp.repeat(at_noise(sde, t, y, noise_std, jnp.zeros((1, 4))), num, axis=0)
    x = jax.jit(lambda: sampler(jax.random.key(2), data.predict(sde), (num, 4), start=(x_t, t)).x)()
    spread = np.sqrt(np.diag(cov).max() / num)
    np.testing.assert_allclose(np.mean(x, axis=0), mean, atol=5 * spread + 0.01)
    np.testing.assert_allclose(np.cov(np.asarray(x).T), cov, atol=5 * np.sqrt(2 / num) * np.diag(cov).max() + 0.02)

"""Parameterisations: what a network is told as its time, and how its output becomes a score."""

import jax.numpy as jnp
import numpy as np
import pytest

from models.score import OUTPUTS, descending_level, make_score_fn, scaled_time
from sde.discrete import ddpm_chain, smld_chain
from sde.ve import VE


def test_the_label_of_a_level_follows_the_published_grid():
    """round((1 - t)(N - 1)) on linspace(1, eps, N); the level whose std the chain uses everywhere."""
    chain = smld_chain(0.01, 50.0, 1000)
    t = jnp.asarray(np.linspace(1.0, 1e-5, 1000), jnp.float32)
    np.testing.assert_array_equal(descending_level(chain, t), np.round((1 - np.asarray(t)) * 999))
    between = jnp.linspace(0, 1, 777)
    sigmas = jnp.asarray(chain.stds[::-1], jnp.float32)
    np.testing.assert_array_equal(sigmas[descending_level(chain, between)], chain.std(between))
    with pytest.raises(ValueError, match="tabulated SDE only, not for VE"):
        descending_level(VE(), t)


def test_the_condition_reaches_the_network():
    chain, x = ddpm_chain(0.1, 20.0, 100), jnp.arange(6.0).reshape(2, 3)
    t = jnp.array([0.2, 0.9])
    score_fn = make_score_fn(lambda x, time, cond: x * cond, chain, scaled_time(99.0), OUTPUTS["noise"], cond=2.0)
    np.testing.assert_allclose(score_fn(x, t), -2 * x / chain.std(t)[:, None], rtol=1e-6)  # one product, one quotient

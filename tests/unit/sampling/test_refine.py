"""Refinement of forecasts: its minimum and its stationary distribution, in closed form, and what it leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from sampling.refine import loss_energy, refine
from sde.vp import VP
from tests.support.oracles import correlated

PRECISION = jnp.asarray([[2.0, 0.6, 0.0], [0.6, 1.5, -0.4], [0.0, -0.4, 1.0]])
BASE = jnp.asarray([[1.0, -2.0, 0.5]])
FREE = jnp.asarray([[False, True, True]])


def quadratic(keys, x):
    """1/2 x^T P x."""
    return 0.5 * jnp.einsum("bi,ij,bj->b", x, PRECISION, x)


def test_descent_finds_the_minimum_given_what_is_known():
    """(P_ff + w I) f = w base_f - P_fk k, with the known part k."""
    found = refine(quadratic, example_keys(jax.random.key(0), 1), BASE, FREE, weight=0.5, num_steps=200)
    P, base = np.asarray(PRECISION), np.asarray(BASE[0])
    expected = np.linalg.solve(P[1:, 1:] + 0.5 * np.eye(2), 0.5 * base[1:] - P[1:, 0] * base[0])
    np.testing.assert_allclose(found[0], [base[0], *expected], atol=1e-5)


def test_with_a_temperature_samples_are_those_of_the_energy():
    """N(0, T P_ff^-1) without a pull, for a known part of zero; steps of 0.05 widen it by 1 / (1 - h P / 2), 5%."""
    base = jnp.zeros((4000, 3))
    settings = {"weight": 0.0, "num_steps": 150, "step_size": 0.05, "temperature": 0.5}
    found = jax.jit(lambda keys: refine(quadratic, keys, base, FREE, **settings))(example_keys(jax.random.key(0), 4000))
    expected = 0.5 * np.linalg.inv(np.asarray(PRECISION)[1:, 1:])
    np.testing.assert_allclose(np.cov(np.asarray(found)[:, 1:].T), expected, rtol=0.2, atol=0.03)
    assert not np.asarray(found)[:, 0].any()


def test_each_sample_settles_at_its_quantile_where_the_energy_is_flat_enough():
    """The slope of the pull, weight (1 - level) or -weight level, meets that of the energy or keeps x at the base."""

    def sloped(keys, x):
        return 0.3 * jnp.sum(x, axis=1)

    levels = jnp.asarray([0.1, 0.5, 0.9])
    base = jnp.zeros((3, 1))
    found = refine(sloped, example_keys(jax.random.key(0), 3), base, jnp.ones((1, 1), bool), pull="quantile",
                   level=levels, num_steps=10, step_size=0.01)  # fmt: skip
    assert found[0, 0] < -0.015  # 0.3 > 0.1: it moves away
    assert np.abs(np.asarray(found[1:])).max() < 0.011  # within a step


def test_the_loss_of_a_gaussian_falls_towards_its_mean():
    """E = 1/2 |noise(m x + std z) - z|^2 is least where the prediction expects x; its mean is zero, then shifted."""
    data = correlated(4, shift=0.5)
    energy = loss_energy(VP(), data.predict(VP()), 0.3)
    keys, mean = example_keys(jax.random.key(0), 2000), jnp.asarray(data.mean, jnp.float32)
    at, away = (np.asarray(energy(keys, jnp.broadcast_to(mean + shift, (2000, 4)))).mean() for shift in (0.0, 1.0))
    assert at < away


def test_another_pull_is_refused():
    with pytest.raises(ValueError, match="pull = 'cubic' is not one of 'mean_square', 'quantile'"):
        refine(quadratic, example_keys(jax.random.key(0), 1), BASE, FREE, pull="cubic")

"""Levels to values and back, and the volume between a density and a probability."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from likelihood import dequantize
from sde.base import example_keys

KEYS = example_keys(jax.random.key(2), 64)


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("num_levels", [2, 5, 256])
def test_levels_come_back_from_every_scaling(num_levels, centered):
    levels = jnp.asarray(np.arange(64 * 512).reshape(64, 16, 16, 2) % num_levels, jnp.uint8)
    low = -1.0 if centered else 0.0
    for x in [
        dequantize.uniform(KEYS, levels, num_levels, centered),
        dequantize.midpoint(levels, num_levels, centered),
        dequantize.scale(levels, num_levels, centered),
    ]:
        assert x.shape == levels.shape and x.dtype == jnp.float32
        assert low <= float(x.min()) < low + 0.6 and 0.4 < float(x.max()) <= 1
        back = dequantize.quantize(x, num_levels, centered)
        assert back.dtype == jnp.uint8
        np.testing.assert_array_equal(back, levels)


def test_noise_is_uniform_over_the_level_and_belongs_to_its_example():
    levels = jnp.full((64, 500), 3, jnp.uint8)
    x = dequantize.uniform(KEYS, levels, 8, False)
    u = 8 * x - 3
    # 32000 uniform numbers: four standard errors of mean and variance; the margin of 2^-12 is below both.
    assert float(u.mean()) == pytest.approx(1 / 2, abs=4 * np.sqrt(1 / 12 / 32000))
    assert float(u.var()) == pytest.approx(1 / 12, abs=4 * np.sqrt(1 / 180 / 32000))
    np.testing.assert_array_equal(dequantize.uniform(KEYS[9:12], levels[9:12], 8, False), x[9:12])
    assert len(np.unique(x[:, 0])) == 64


def test_values_outside_the_range_take_the_nearest_level():
    x = jnp.array([-7.0, -1.0, 1.0, 7.0])
    np.testing.assert_array_equal(dequantize.quantize(x, 256, True), [0, 0, 255, 255])


@pytest.mark.parametrize("centered", [True, False])
def test_a_density_that_is_flat_on_every_level_gives_the_bits_of_its_levels(centered):
    """P(level) = density x volume of its cell, so that bits/dim is -log2 P / D, and the probabilities sum to one."""
    probability = np.random.default_rng(0).dirichlet(np.ones(16))
    side = (2 if centered else 1) / 16
    levels = np.random.default_rng(1).integers(0, 16, (10, 3))
    logp = np.log(probability[levels] / side).sum(axis=1)
    bits = dequantize.bits_per_dim(jnp.asarray(logp), 3, 16, centered)
    np.testing.assert_allclose(bits, -np.log2(probability[levels]).mean(axis=1), rtol=1e-6)
    every = dequantize.bits_per_dim(jnp.log(probability / side), 1, 16, centered)
    assert float(jnp.sum(2.0**-every)) == pytest.approx(1, abs=1e-5)


def test_published_constants_are_seven_and_eight():
    assert float(dequantize.bits_per_dim(jnp.zeros(()), 3072, 256, True)) == 7
    assert float(dequantize.bits_per_dim(jnp.zeros(()), 3072, 256, False)) == 8


def test_a_wrong_number_of_keys_is_refused():
    with pytest.raises(ValueError, match="one key each"):
        dequantize.uniform(KEYS[:2], jnp.zeros((3, 4), jnp.uint8), 256, True)

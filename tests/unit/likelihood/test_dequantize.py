"""Levels to values and back, and the volume between a density and a probability."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from likelihood import dequantize

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


@pytest.mark.parametrize(("centered", "std"), [(True, 0.05), (False, 0.2), (True, 1e-3), (False, 3.0)])
def test_truncated_noise_stays_in_its_level_and_its_density_integrates_to_one(centered, std):
    levels = jnp.asarray(np.arange(64 * 512).reshape(64, 512) % 8, jnp.uint8)
    x, logq = dequantize.truncated_normal(KEYS, levels, 8, centered, mean_coeff=jnp.asarray(0.9), std=jnp.asarray(std))
    np.testing.assert_array_equal(dequantize.quantize(x / 0.9, 8, centered), levels)
    # E[1 / q] over q is the volume of the cell (less the margin): one value at a time, 64 x 512 of them.
    single, logq_each = dequantize.truncated_normal(
        example_keys(jax.random.key(1), 20_000), jnp.full((20_000, 1), 3, jnp.uint8), 8, centered,
        mean_coeff=jnp.asarray(0.9), std=jnp.asarray(std),
    )  # fmt: skip
    side = 0.9 * (2 if centered else 1) / 8
    if side < 6 * std:  # else q has tails too thin for its inverse to have a mean that samples can find
        volume = np.exp(-np.asarray(logq_each, np.float64))
        assert abs(volume.mean() - side) < 5 * volume.std() / 20_000**0.5 + 1e-3 * side
    middle = 0.9 * dequantize.midpoint(jnp.full((1,), 3, jnp.uint8), 8, centered)
    spread = float(jnp.std(single - middle[None]))
    assert spread == pytest.approx(min(std, side / 12**0.5), rel=0.15)
    assert logq.shape == (64,)


@pytest.mark.parametrize("num_levels", [256, 65_536])
def test_the_margin_at_the_edges_of_a_level_costs_nothing(num_levels):
    """Noise wider than a level is uniform in it, and a density 1 / volume gives log2 L bits; once 7e-4 or 0.02 more."""
    levels = jnp.asarray(np.arange(64 * 16).reshape(64, 16) * (num_levels // 1024), jnp.uint16)
    one = jnp.asarray(1.0)
    x, logq = dequantize.truncated_normal(KEYS, levels, num_levels, True, mean_coeff=one, std=one)
    np.testing.assert_array_equal(dequantize.quantize(x, num_levels, True), levels)
    logp = jnp.full((64,), 16 * math.log(num_levels / 2))  # uniform on every cell
    bits = -dequantize.log_probability_nats(logp[None], logq[None]) / (16 * math.log(2))
    np.testing.assert_allclose(bits, 0, atol=1e-4)


def test_more_dequantizations_come_closer_to_the_probability_from_below():
    """Levels of a Gaussian at time eps: their probabilities are differences of the error function."""
    num_levels, eps_std, data_std, size = 4, 0.1, 0.3, 4000
    spread = math.hypot(data_std, eps_std)
    levels = jnp.asarray(np.random.default_rng(0).integers(0, num_levels, (size, 3)), jnp.uint8)
    edges = np.linspace(-1, 1, num_levels + 1)
    cumulative = np.array([0.5 * (1 + math.erf(e / spread / 2**0.5)) for e in edges])
    exact = np.log(np.diff(cumulative))[np.asarray(levels)].sum(axis=1)

    def one(k):
        keys = example_keys(jax.random.fold_in(jax.random.key(0), k), size)
        x, logq = dequantize.truncated_normal(
            keys, levels, num_levels, True, mean_coeff=jnp.asarray(1.0), std=jnp.asarray(eps_std)
        )
        logp = jnp.sum(-0.5 * (x / spread) ** 2 - 0.5 * math.log(2 * math.pi * spread**2), axis=1)
        return logp, logq

    logp, logq = jax.jit(lambda: jax.lax.map(one, jnp.arange(64)))()
    gaps = [exact - dequantize.log_probability_nats(logp[:k], logq[:k]) for k in (1, 4, 16, 64)]
    means = [float(gap.mean()) for gap in gaps]
    errors = [float(gap.std()) / size**0.5 for gap in gaps]
    assert all(a > b + 5 * e for a, b, e in zip(means, means[1:], errors, strict=False)), means
    assert means[-1] > -5 * errors[-1] and means[-1] < 0.2 * means[0]


def test_uniform_dequantization_as_a_density_gives_the_usual_constant():
    logp = jnp.asarray([-3.0, 2.0])
    for centered in (True, False):
        logq = dequantize.uniform_logq_nats(12, 256, centered)
        found = -dequantize.log_probability_nats(logp[None], jnp.full((1, 2), logq)) / (12 * math.log(2))
        np.testing.assert_allclose(found, dequantize.bits_per_dim(logp, 12, 256, centered), rtol=1e-6)
    with pytest.raises(ValueError, match="one key each"):
        dequantize.truncated_normal(
            KEYS[:2], jnp.zeros((3, 4), jnp.uint8), 256, True, mean_coeff=jnp.ones(()), std=jnp.ones(())
        )

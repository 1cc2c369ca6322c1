"""Learned dequantization against the probabilities of levels, which a mixture has in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys, fold_in
from likelihood import dequantize
from likelihood.variational import Flow, fit, initial, make_loss, variational
from sde.vp import VP
from tests.support.oracles import Gaussian, Mixture

LEVELS, EPS = 4, 1e-3
FLOW = Flow(features=8, couplings=2)
SHAPE = (1, 2, 1)  # two pixels in a row
# Within a level of [-1, 1], whose width is 0.5, the density changes many times over.
DATA = Mixture(
    (0.4, 0.6),
    (
        Gaussian(np.array([-0.5, 0.2]), np.array([[0.02, 0.012], [0.012, 0.02]])),
        Gaussian(np.array([0.4, -0.3]), np.array([[0.03, -0.02], [-0.02, 0.03]])),
    ),
)


@functools.cache
def start():
    """Parameters with which the flow does nothing."""
    return initial(FLOW, jax.random.key(0), SHAPE)


def moved(params, size=0.3):
    """Parameters away from the start, but not so far that float32 rounds u to 1."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: p + jnp.asarray(size * rng.normal(size=p.shape), p.dtype), params)


def probabilities(score_sde, points=100):
    """P of each of 4 x 4 levels at time EPS, by the midpoint rule: [4, 4]."""
    edges = 2 * (np.arange(LEVELS * points) + 0.5) / (LEVELS * points) - 1
    grid = np.stack(np.meshgrid(edges, edges, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(DATA.logp(score_sde, jnp.asarray(grid, jnp.float32), jnp.full(len(grid), EPS)))
    cells = np.asarray(density, np.float64).reshape(LEVELS, points, LEVELS, points).sum(axis=(1, 3))
    return cells * (2 / (LEVELS * points)) ** 2


def test_before_training_it_is_uniform_dequantization():
    levels = jnp.asarray(np.random.default_rng(0).integers(0, 17, (2000, 2, 2, 3)), jnp.uint8)
    keys = example_keys(jax.random.key(1), 2000)

    @jax.jit
    def run(params):
        return {centered: variational(FLOW, params, keys, levels, 17, centered) for centered in (True, False)}

    for centered, (x, log_ratio) in run(initial(FLOW, jax.random.key(0), (2, 2, 3))).items():
        np.testing.assert_array_equal(dequantize.quantize(x, 17, centered), levels)
        np.testing.assert_allclose(log_ratio, 0, atol=2e-5)  # float32, 12 terms; the margin costs nothing
        u = 17 * (0.5 * (x + 1) if centered else x) - levels
        # 24,000 uniform numbers: four standard errors of mean and variance, and the margin of 2.4e-4.
        assert float(u.mean()) == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / 24_000) + 3e-4)
        assert float(u.var()) == pytest.approx(1 / 12, abs=4 * np.sqrt(1 / 180 / 24_000) + 3e-4)


def test_its_density_is_that_of_its_samples():
    """log q by the change of variables is -log |det du/dv_0| + log q(v_0), for parameters away from the start."""
    params = moved(start())
    image = jnp.array([0.3, -0.7]).reshape(1, *SHAPE)
    keys = example_keys(jax.random.key(3), 20_000)
    u, logq = jax.jit(lambda keys: FLOW.apply({"params": params}, keys, jnp.broadcast_to(image, (20_000, *SHAPE))))(
        keys
    )
    assert np.all((u > 0) & (u < 1)) and float(logq.std()) > 0.1
    # E[1 / q] over q is the area of the cell, one; and the histogram of u is the mean of q.
    inverse = np.exp(-np.asarray(logq, np.float64))
    assert abs(inverse.mean() - 1) < 5 * inverse.std() / 20_000**0.5
    left = np.asarray(u.reshape(-1, 2)[:, 0] < 0.5)
    weighted = inverse * left  # E[1{u_0 < 1/2} / q] is half of the area
    assert abs(weighted.mean() - 0.5) < 5 * weighted.std() / 20_000**0.5


def test_it_learns_to_bound_the_probability_of_the_levels_more_tightly_than_uniform_noise():
    sde = VP()
    flat = DATA.predict(sde)
    exact = probabilities(sde)
    drawn = np.random.default_rng(0).choice(LEVELS**2, size=4096, p=(exact / exact.sum()).ravel())
    levels = jnp.asarray(np.stack(np.unravel_index(drawn, (LEVELS, LEVELS)), axis=-1), jnp.uint8).reshape(-1, *SHAPE)
    logp = np.log(exact).ravel()[drawn]

    def predict(x, t):
        return jax.tree.map(lambda field: field.reshape(x.shape), flat(x.reshape(-1, 2), t))

    loss = make_loss(FLOW, sde, LEVELS, True, eps=EPS, num_times=4)
    params = fit(
        FLOW, loss, lambda weights: predict, None, jax.random.key(0),
        lambda step: levels[(256 * step) % 4096 : (256 * step) % 4096 + 256], num_steps=400, learning_rate=1e-2,
    )  # fmt: skip

    @jax.jit
    def gaps(params):
        x, log_ratio = variational(
            FLOW, params, fold_in(example_keys(jax.random.key(9), 4096), 1), levels, LEVELS, True
        )
        logq = log_ratio + dequantize.uniform_logq_nats(2, LEVELS, True)
        return DATA.logp(sde, x.reshape(-1, 2), jnp.full(4096, EPS)) - logq - logp

    before, after = (np.asarray(gaps(p), np.float64) for p in (start(), params))
    # A bound, up to four standard errors; less than a third of the gap of uniform noise (a nat or more) is left.
    assert after.mean() < 4 * after.std() / 64 and before.mean() < -0.5
    assert after.mean() > before.mean() / 3, (before.mean(), after.mean())
    # Importance sampling makes the bound an equality: E[p / q] = P, level by level and so on average.
    ratio = np.exp(after)
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / 64 + 2e-3  # the margin, and the midpoint rule

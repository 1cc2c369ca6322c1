"""Noise with a path for each pixel, given a latent: the bound of an exact model, its schedules, and its samples."""

import jax
import jax.numpy as jnp
import numpy as np

from core.keys import example_keys
from corruption.divergence import divergence_nats
from corruption.predictions import Gaussian
from likelihood.levels import levels_bound
from models.heads.pixel_schedule import PixelSchedule
from sampling.pc import pc
from sampling.steps.heun import heun
from sampling.steps.none import none
from sde.log_linear import LogLinear
from sde.warped import Warped
from systems.adaptive_noise import on_clock

SDE = LogLinear(-10.0, 13.3)
LEVELS = jnp.array([-1.0, 0.0, 1.0])
STATES = jnp.stack(jnp.meshgrid(LEVELS, LEVELS, indexing="ij"), axis=-1).reshape(9, 2)  # of two pixels
SLOPES, OFFSETS = np.random.default_rng(0).normal(size=(2, 9)).astype(np.float32)
MODULE = PixelSchedule((2,), width=4)
PARAMS = jax.tree.map(
    lambda a: a + 0.7 * np.random.default_rng(a.size).standard_normal(a.shape).astype(np.float32),
    MODULE.init(jax.random.key(0), jnp.zeros((1, 1)), jnp.zeros(1)),
)


def log_probs(latent):
    """ln P(state | latent) [B, 9] of latents [B, 1]: a table."""
    return jax.nn.log_softmax(SLOPES[None] * latent + OFFSETS[None])


def exact(latent):
    """The expectations of both pixels and of their noise, which have amounts of noise of their own."""

    def predict(x, s):
        m, std = SDE.mean_coeff(s), SDE.std(s)
        logits = log_probs(latent) - 0.5 * jnp.sum(((x[None] - m[None] * STATES[:, None]) / std[None]) ** 2, axis=-1).T
        x0 = jax.nn.softmax(logits) @ STATES
        return Gaussian(x0, (x - m * x0) / std)

    return predict


def path(latent):
    return lambda u: MODULE.apply(PARAMS, latent, u)


def test_paths_lead_from_zero_to_one_at_the_pace_that_they_say_and_differ_between_pixels_and_latents():
    latent, u = jnp.linspace(-2.0, 2.0, 3)[:, None], jnp.linspace(0.0, 1.0, 21)
    of = lambda u: MODULE.apply(PARAMS, jnp.repeat(latent, 21, axis=0), u)  # noqa: E731
    where, pace = jax.jvp(lambda u: of(u)[0], (jnp.tile(u, 3),), (jnp.ones(63),))
    np.testing.assert_allclose(of(jnp.tile(u, 3))[1], pace, rtol=1e-3, atol=1e-4)
    where = np.asarray(where).reshape(3, 21, 2)
    assert np.all(where[:, 0] == 0) and np.allclose(where[:, -1], 1) and np.all(np.diff(where, axis=1) > 0)
    assert np.abs(where[:, 10, 0] - where[:, 10, 1]).max() > 0.05 and np.ptp(where[:, 10, 0]) > 0.05
    start = MODULE.init(jax.random.key(1), latent, u[:3])
    np.testing.assert_allclose(MODULE.apply(start, latent, u[:3])[0], jnp.stack([u[:3], u[:3]], axis=1), atol=1e-6)


def test_the_bound_on_paths_is_the_likelihood_given_the_latent_and_with_its_cost_a_bound_without():
    """For the exact model given the latent, the bound is -ln P(x0 | latent) of every x0, whatever the paths; with
    KL(q || N(0, 1)) of a normal q, its mean over q is above -ln int P(x0 | latent) N(latent; 0, 1)."""
    num, mean, std = 9000, 0.5, 0.8
    states = np.arange(num) % 9
    latent = mean + std * jax.random.normal(jax.random.key(1), (num, 1))
    keys, ends = example_keys(jax.random.key(0), num), {"first": jnp.float32(0.0), "last": jnp.float32(1.0)}
    of_path = lambda: levels_bound(  # noqa: E731
        exact(latent), SDE, STATES[states], keys, LEVELS, **ends, path=path(latent), num_times=32
    )
    found = np.asarray(jax.jit(of_path)().nats, np.float64)
    expected = -np.asarray(log_probs(latent), np.float64)[np.arange(num), states]
    by_state = (found - expected).reshape(-1, 9)
    errors = by_state.std(axis=0) / np.sqrt(len(by_state))
    assert np.all(np.abs(by_state.mean(axis=0)) < 4 * errors) and np.all(errors < 0.09)  # nats, of about 2.5
    grid = np.linspace(-8.0, 8.0, 801)
    normal = np.exp(-0.5 * grid**2) / np.exp(-0.5 * grid**2).sum()
    marginal = normal @ np.exp(np.asarray(log_probs(jnp.asarray(grid[:, None], jnp.float32)), np.float64))
    cost = float(divergence_nats(jnp.float32(mean), jnp.float32(std), 0.0, 1.0))
    gap = found.reshape(-1, 9).mean(axis=0) + cost + np.log(marginal)
    assert gap.mean() > 4 * np.linalg.norm(errors) / 9


def test_samples_on_the_clocks_of_two_pixels_have_the_covariance_of_the_data():
    covariance = np.array([[1.0, 0.6], [0.6, 0.7]], np.float32)
    num = 8000
    latent = jnp.full((num, 1), 1.5)

    def clock(t):
        return path(latent)(t)

    def predict(x, t):
        s, _ = clock(t)
        m, std = SDE.mean_coeff(s)[0], SDE.std(s)[0]  # the same for all examples
        both = m[:, None] * covariance * m[None] + jnp.diag(std**2)
        x0 = x @ jnp.linalg.solve(both, m[:, None] * covariance)
        return Gaussian(x0, (x - m[None] * x0) / std[None])

    sampler = pc(SDE, heun(), none(), tuple(np.linspace(1.0, 1e-3, 121)))
    sample = jax.jit(lambda key: on_clock(sampler, Warped(SDE, clock))(key, predict, (num, 2)).x)
    found = np.cov(np.asarray(sample(jax.random.key(5)), np.float64).T)
    # Sampling 8,000 pairs has errors up to 0.016. Noise of the same amount for both pixels at each step ends with 0.2.
    np.testing.assert_allclose(found, covariance, atol=0.06)
    assert np.abs(np.asarray(clock(jnp.full(num, 0.5))[0][0] @ jnp.array([1.0, -1.0]))) > 0.05
    drift, s = Warped(SDE, clock).drift_coeff(jnp.full(num, 0.5)), clock(jnp.full(num, 0.5))
    np.testing.assert_allclose(drift, s[1] * SDE.drift_coeff(s[0]), rtol=1e-6)

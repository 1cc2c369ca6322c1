"""The diffusion head of one token given a state: trained, measured and sampled as any score model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from builders.process import make_sde
from builders.token_heads import CategoricalTokens, DiffusionTokens
from configs import default, presets
from core.keys import example_keys
from corruption.predictions import Gaussian

MEAN, FACTOR = np.array([[0.6, -0.4], [0.3, 0.5]]), np.array([[0.5, 0.0], [0.3, 0.4]])
ENTROPY = 1 + np.log(2 * np.pi) + np.log(np.linalg.det(FACTOR))  # of N(MEAN^T state, FACTOR FACTOR^T), in nats
N, STEPS = 512, 700


def config_of(**sampling):
    config = default.get_config()
    presets.digits_words(config)
    config.mmar.update(head_nf=8, head_blocks=1, head_samples=1)
    config.training.sde = "cosine"  # almost no signal at t = 1, where rounding hurts the most
    config.sampling.update(**sampling)
    return config


def examples(key):
    """Tokens x ~ N(MEAN^T state, FACTOR FACTOR^T) with states in the unit square."""
    state = jax.random.uniform(jax.random.fold_in(key, 0), (N, 2), minval=-1.0)
    noise = jax.random.normal(jax.random.fold_in(key, 1), (N, 2))
    return state, state @ jnp.asarray(MEAN, jnp.float32) + noise @ jnp.asarray(FACTOR.T, jnp.float32)


@pytest.fixture(scope="module")
def trained():
    """Parameters of a head after some hundred steps, and held-out examples."""
    head = DiffusionTokens(config_of(), 2)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, STEPS))

    def step(k, carry):
        params, moments = carry
        key = jax.random.fold_in(jax.random.key(1), k)
        state, x = examples(key)
        loss = lambda params: jnp.mean(head.losses(params, example_keys(key, N), state, x, k))  # noqa: E731
        updates, moments = optimizer.update(jax.grad(loss)(params), moments)
        return optax.apply_updates(params, updates), moments

    params = head.init(jax.random.key(0), 2)
    train = jax.jit(lambda params: jax.lax.fori_loop(0, STEPS, step, (params, optimizer.init(params)))[0])
    return train(params), examples(jax.random.key(2))


def test_the_likelihood_of_a_conditional_gaussian_is_its_entropy(trained):
    """Within 0.05 nats of the truth for each example's own density, too: the mean of the same noise."""
    params, (state, x) = trained
    head, keys = DiffusionTokens(config_of(), 2), example_keys(jax.random.key(3), N)
    logp = np.asarray(jax.jit(head.logp_nats)(params, keys, state, x))
    z = np.linalg.solve(FACTOR, (np.asarray(x) - np.asarray(state) @ MEAN).T)
    exact = -0.5 * (z**2).sum(axis=0) - ENTROPY + 1
    assert abs(logp.mean() - exact.mean()) < 0.05


@pytest.mark.parametrize("parameterization", ["velocity", "noise"])
def test_samples_of_a_bfloat16_head_agree_for_velocity_and_not_for_noise(trained, parameterization):
    """The same head in float32 and in bfloat16, whose output differs by about 2^-9: 30 steps from little signal.

    A noise prediction multiplies that by std / mean_coeff = 1,800 where sampling begins. The noise of the trained head
    is derived from its velocity, so that both have the same exact samples.
    """
    params, (state, _) = trained
    found = {}
    for dtype in ("float32", "bfloat16"):
        head = AsNoise if parameterization == "noise" else DiffusionTokens
        config = config_of(num_steps=30, grid="uniform", method="pc", predictor="ddim", noise_removal=False)
        sample = jax.jit(functools.partial(head(config, 2, dtype).sample, scale=1.0))
        found[dtype] = np.asarray(sample(params, example_keys(jax.random.key(4), N), (state,))[0])
    error = np.sqrt(np.mean((found["bfloat16"] - found["float32"]) ** 2))
    assert error < 0.01 if parameterization == "velocity" else error > 0.03


def test_guidance_acts_at_its_noise_levels_alone(trained):
    params, (state, _) = trained
    keys, states, found = example_keys(jax.random.key(5), N), (state, jnp.zeros_like(state)), {}
    for low, scale, given in ((0.0, 1.0, states[:1]), (0.0, 3.0, states), (1e9, 3.0, states)):
        sample = DiffusionTokens(config_of(num_steps=5, guidance_min_sigma=low), 2).sample
        found[low, scale] = np.asarray(jax.jit(functools.partial(sample, scale=scale))(params, keys, given)[0])
    np.testing.assert_allclose(found[1e9, 3.0], found[0.0, 1.0], atol=1e-5)  # programs round differently
    assert np.abs(found[0.0, 3.0] - found[0.0, 1.0]).max() > 0.1


class AsNoise(DiffusionTokens):
    """The same head, whose network gives the noise in its own type: rounded after it is derived from the velocity."""

    def predict(self, params, state):
        exact = DiffusionTokens(self.config, self.dim).predict(params, state)
        sde, dtype = make_sde(self.config), self.network.dtype

        def predict(x, t):
            noise = exact(x, t).noise.astype(dtype).astype(jnp.float32)
            return Gaussian((x - sde.std(t)[:, None] * noise) / sde.mean_coeff(t)[:, None], noise)

        return predict


def test_tokens_of_a_codebook_are_sampled_by_their_probabilities_and_guided():
    config = config_of()
    config.mmar.head = "categories"
    head = CategoricalTokens(config, 3)
    params = {"kernel": jnp.eye(3), "bias": jnp.zeros(3)}
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.3, 0.2])
    states = tuple(jnp.broadcast_to(jnp.log(jnp.asarray(a, jnp.float32))[None], (4000, 3)) for a in (p, q))
    guided = p**2 / q / np.sum(p**2 / q)
    for given, scale, expected in ((states[:1], 1.0, p), (states, 2.0, guided)):
        tokens, calls = head.sample(params, example_keys(jax.random.key(0), 4000), given, scale)
        np.testing.assert_allclose(np.bincount(tokens, minlength=3) / 4000, expected, atol=0.032)  # 4 standard errors
        assert int(calls) == 1
    nats = head.losses(params, example_keys(jax.random.key(0), 3), states[0][:3], jnp.arange(3), jnp.int32(0))
    np.testing.assert_allclose(nats, -np.log(p), rtol=1e-5)

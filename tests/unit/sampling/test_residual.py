"""Rounds of residual tokens: network calls, and samples of exact predictions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from corruption.depth_mask import DepthMask, IndependentTokens, SummedTokens
from corruption.predictions import Categorical, Mixture
from corruption.schedules import Polynomial
from sampling import grids
from sampling.ancestral import Ancestral
from sampling.loop import FixedStep
from sampling.residual import OneByOne, Rounds, sharpened

K = 2


def sampler(stepper, process, num_steps):
    return FixedStep(process, stepper, grids.uniform(num_steps, 0.0), denoise=False)


@pytest.mark.parametrize("depth", [1, 3])
def test_network_calls_are_the_rounds_at_every_depth_and_one_for_each_token_one_by_one(depth):
    """Counted while samples are made."""
    calls, shape, vectors = [], (4, 3, depth), jnp.arange(depth * K * 2.0).reshape(depth, K, 2)

    def counted(x, t):
        jax.debug.callback(lambda: calls.append(1))
        return Categorical(jnp.zeros((*x.shape, K)))

    def mixture(x, t):
        jax.debug.callback(lambda: calls.append(1))
        zeros = jnp.zeros((*x.shape[:-1], 1, 2))
        return Mixture(zeros[..., 0], zeros, zeros)

    summed = DepthMask(K, Polynomial(1.0), SummedTokens(vectors))
    each = DepthMask(K, Polynomial(1.0), IndependentTokens(K))
    rounds, single = sampler(Rounds(summed), summed, 5), sampler(OneByOne(K), each, 3 * depth)
    for own, predict, expected in ((rounds, mixture, 5), (single, counted, 3 * depth)):
        calls.clear()
        found = jax.jit(lambda keys, own=own, predict=predict: own(keys, predict, shape))(
            example_keys(jax.random.key(0), 4)
        )
        jax.block_until_ready(found.x)
        jax.effects_barrier()
        assert len(calls) == expected == int(found.num_evals)
        assert int(found.x.max()) < K  # all tokens are shown


TABLE = np.random.default_rng(0).dirichlet(np.ones(16))  # of the tokens of two positions of depth 2


def exact(x, t):
    """p(token | known tokens) of each token by itself."""
    every = jnp.asarray(list(itertools.product(range(K), repeat=4))).reshape(1, 16, 2, 2)
    fits = jnp.all((x[:, None] == every) | (x[:, None] == K), axis=(2, 3))
    weights = jnp.where(fits, jnp.asarray(TABLE)[None], 0.0)
    one_hot = jax.nn.one_hot(every[0], K)
    return Categorical(jnp.log(jnp.maximum(jnp.einsum("bs,sijk->bijk", weights, one_hot), 1e-30)))


@pytest.mark.parametrize("name", ["ancestral", "one by one", "confidence"])
def test_exact_predictions_of_one_token_at_a_time_give_the_distribution_of_the_data(name):
    """In the order of confidence likely tokens come first, which is another distribution."""
    process, num = DepthMask(K, Polynomial(1.0), IndependentTokens(K)), 6000
    stepper = {"ancestral": Ancestral(process), "one by one": OneByOne(K), "confidence": Rounds(process, noise=0.0)}[
        name
    ]
    found = jax.jit(lambda keys: sampler(stepper, process, 4)(keys, exact, (num, 2, 2)).x)(
        example_keys(jax.random.key(1), num)
    )
    index = np.asarray(found).reshape(num, 4) @ np.array([8, 4, 2, 1])
    distance = 0.5 * np.abs(np.bincount(index, minlength=16) / num - TABLE).sum()
    noise = 0.5 * np.sqrt(2 / np.pi * TABLE * (1 - TABLE) / num).sum()  # expected of exact samples
    assert (distance < 2 * noise) == (name != "confidence")


def test_a_sharp_mixture_is_the_mean_of_its_likeliest_component():
    given = Mixture(jnp.log(jnp.asarray([[0.6, 0.4]])), jnp.asarray([[[1.0], [2.0]]]), jnp.zeros((1, 2, 1)))
    found = sharpened(lambda x, t: given, temperature=0.0)(None, None)
    np.testing.assert_allclose(jnp.exp(found.log_weights), [[1, 0]], atol=1e-6)
    assert float(found.log_std.max()) < -10
    kept = sharpened(lambda x, t: given, top_p=0.5)(None, None)
    np.testing.assert_allclose(jnp.exp(kept.log_weights), [[1, 0]], atol=1e-6)
    np.testing.assert_array_equal(kept.log_std, given.log_std)

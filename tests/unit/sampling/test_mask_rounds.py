"""Generation in rounds and of texts, with models whose distributions are known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from corruption.masking import known_after
from sampling.mask_rounds import MaskRounds, TokenModel
from sampling.texts import sample_texts

L, B = 4, 4000
COV = 0.8 ** np.abs(np.subtract.outer(np.arange(L), np.arange(L)))  # of the tokens of a Markov chain


def conditionals():
    """Of each set of masked tokens, as bits: the gain of the known ones, and the variance that is left."""
    gains, variances = np.zeros((2**L, L, L)), np.zeros((2**L, L))
    for code in range(2**L):
        hidden = np.array([code >> i & 1 for i in range(L)], bool)
        gains[code][:, ~hidden] = COV[:, ~hidden] @ np.linalg.inv(COV[np.ix_(~hidden, ~hidden)])
        variances[code] = np.diag(COV - gains[code] @ COV)
    return jnp.asarray(gains), jnp.maximum(jnp.asarray(variances), 0.0)


def gaussian_model():
    """Exact conditional distributions of tokens N(0, COV), given those that are not masked; mean and variance."""
    gains, variances = conditionals()

    def state(tokens, masked):
        code = jnp.sum(masked * 2 ** jnp.arange(L)[None], axis=1)
        return jnp.sum(gains[code] * jnp.where(masked, 0.0, tokens[..., 0])[:, None], axis=2), variances[code]

    def sample(keys, given):
        mean, variance = given
        noise = jax.vmap(lambda key: jax.random.normal(key, ()))(keys)
        return (mean + jnp.sqrt(variance) * noise)[:, None], jnp.int32(3)

    return TokenModel(state, sample)


@pytest.fixture(scope="module")
def sampled():
    def samples(num_rounds):
        blank = jax.ShapeDtypeStruct((L, 1), jnp.float32)
        sampler = MaskRounds(known_after(L, num_rounds), blank, lambda tokens: tokens[..., 0])
        return sampler(example_keys(jax.random.key(0), B), gaussian_model(), (B, L), trajectory=num_rounds)

    return {num: jax.jit(samples, static_argnums=0)(num) for num in (1, L)}


def test_one_token_at_a_time_has_the_joint_distribution_and_all_at_once_the_marginals(sampled):
    # The standard error of a covariance of 4,000 samples is at most sqrt(2 / 4000) = 0.022.
    np.testing.assert_allclose(np.cov(np.asarray(sampled[L].x).T), COV, atol=0.09)
    np.testing.assert_allclose(np.cov(np.asarray(sampled[1].x).T), np.eye(L), atol=0.09)


def test_calls_are_counted_and_states_show_the_rounds(sampled):
    assert int(sampled[L].num_evals) == L * (1 + 3) and int(sampled[1].num_evals) == 1 + 3
    states = np.asarray(sampled[L].states)
    assert states.shape == (L, B, L)
    np.testing.assert_array_equal((states != 0).sum(axis=2), np.arange(1, L + 1)[:, None].repeat(B, 1))
    for before, after in itertools.pairwise(states):
        assert (after[before != 0] == before[before != 0]).all()
    np.testing.assert_array_equal(states[-1], sampled[L].x)


def test_tokens_have_no_start():
    sampler = MaskRounds((1,), jax.ShapeDtypeStruct((1,), jnp.int32), lambda tokens: tokens)
    with pytest.raises(ValueError, match="neither a start nor a constraint"):
        sampler(jax.random.key(0), None, (1, 1), start=(jnp.zeros((1, 1)), 0.5))


def test_texts_follow_their_probabilities_and_end_at_the_end():
    first = np.log([0.2, 0.5, 0.3])  # of the tokens 0 (the end), 1, 2
    second = np.log([[0.4, 0.3, 0.3], [0.1, 0.6, 0.3], [0.7, 0.1, 0.2]])  # given the token before

    def logits_of(tokens):
        rows = jnp.asarray(second)[tokens[:, 0]]
        return jnp.stack([jnp.broadcast_to(jnp.asarray(first), rows.shape), rows], axis=1)

    found = jax.jit(lambda keys: sample_texts(keys, logits_of, 2))(example_keys(jax.random.key(0), B))
    pairs, counts = np.unique(np.asarray(found.tokens), axis=0, return_counts=True)
    expected = {(0, 0): 0.2} | {(a, b): float(np.exp(first[a] + second[a, b])) for a in (1, 2) for b in range(3)}
    assert {tuple(map(int, pair)) for pair in pairs} == expected.keys()
    for pair, count in zip(pairs, counts, strict=True):
        assert count / B == pytest.approx(expected[tuple(map(int, pair))], abs=0.03)  # four standard errors
    row = [np.log(expected[tuple(map(int, pair))]) for pair in np.asarray(found.tokens)[:20]]
    np.testing.assert_allclose(found.logp_nats[:20], row, rtol=1e-5)
    greedy = sample_texts(example_keys(jax.random.key(1), 2), logits_of, 2, temperature=0.0)
    np.testing.assert_array_equal(greedy.tokens, [[1, 1], [1, 1]])

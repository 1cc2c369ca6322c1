"""Which tokens are masked, and in which rounds they become known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from corruption.masking import known_after, masked, places, revealed


def test_the_masked_tokens_are_a_random_part_of_the_share():
    keys = example_keys(jax.random.key(0), 6000)
    place = places(keys, 4)
    hidden = np.asarray(masked(place, jnp.full(6000, 0.3)))  # ceil(1.2) = 2
    assert (hidden.sum(axis=1) == 2).all()
    pairs = [np.mean(hidden[:, i] & hidden[:, j]) for i, j in itertools.combinations(range(4), 2)]
    np.testing.assert_allclose(pairs, 1 / 6, atol=0.02)  # four standard errors, sqrt(5 / 36 / 6000)
    assert (np.asarray(masked(place, jnp.zeros(6000))).sum(axis=1) == 1).all()
    assert np.asarray(masked(place, jnp.ones(6000))).all()


def test_fewer_masked_tokens_are_among_more():
    place = places(example_keys(jax.random.key(1), 50), 9)
    few, many = (np.asarray(masked(place, jnp.full(50, share))) for share in (0.2, 0.7))
    assert not (few & ~many).any()


@pytest.mark.parametrize(("num_tokens", "num_rounds"), [(16, 8), (16, 16), (16, 1), (5, 4), (64, 8)])
def test_every_round_reveals_a_token_and_the_last_one_the_rest(num_tokens, num_rounds):
    known = (0, *known_after(num_tokens, num_rounds))
    steps = np.diff(known)
    assert known[-1] == num_tokens and len(steps) == num_rounds and steps.min() >= 1
    place = places(example_keys(jax.random.key(2), 3), num_tokens)
    order, width = jnp.argsort(place, axis=1), int(steps.max())
    seen = np.zeros((3, num_tokens), int)
    for first, last in itertools.pairwise(known):
        tokens, there = revealed(order, jnp.int32(first), jnp.int32(last), width)
        for row in range(3):
            seen[row, np.asarray(tokens)[row, np.asarray(there)[row]]] += 1
        np.testing.assert_array_equal(seen > 0, np.asarray(place) < last)
    assert (seen == 1).all()


def test_more_rounds_than_tokens_are_refused():
    with pytest.raises(ValueError, match="There are 4 tokens, which can be revealed in 1 to 4 rounds"):
        known_after(4, 5)

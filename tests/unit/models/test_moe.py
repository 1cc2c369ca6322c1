"""Mixtures of experts: one expert is the perceptron, those that are not chosen have no effect, the balance of use."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.blocks.moe import COLLECTION, MixtureOfExperts, Routing, balance, evenness, routings, shares
from models.blocks.transformer import Block

B, L, D = 2, 5, 8


def experts(E, k):
    return MixtureOfExperts(E, k, nn.swish)


def test_a_block_with_one_expert_is_the_block_with_a_perceptron():
    h = jax.random.normal(jax.random.key(0), (B, L, D))
    dense, mixed = (
        Block(2, 0.0, nn.swish, jnp.float32, experts=e) for e in (None, functools.partial(MixtureOfExperts, 1, 1))
    )
    params = dense.init(jax.random.key(1), h, (L,), None, False)["params"]
    params = jax.tree.map(lambda a: jax.random.normal(jax.random.key(a.size), a.shape), params)
    other = {name: value for name, value in params.items() if name not in ("Dense_2", "Dense_3")}
    other["experts"] = {
        "router": {"kernel": jnp.ones((D, 1))},
        **{
            f"{new}_{k}": params[f"Dense_{4 - k}"][old][None]
            for k in (1, 2)
            for new, old in (("W", "kernel"), ("b", "bias"))
        },
    }
    expected = dense.apply({"params": params}, h, (L,), None, False)
    found = mixed.apply({"params": other}, h, (L,), None, False)
    assert float(jnp.abs(expected).max()) > 1
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * float(jnp.abs(expected).max()))


@pytest.mark.parametrize("k", [1, 2])
def test_a_token_has_the_weighted_sum_of_its_likeliest_experts(k):
    h, module = jax.random.normal(jax.random.key(0), (B, L, D)), experts(4, k)
    params = module.init(jax.random.key(1), h)["params"]
    params = jax.tree.map(lambda a: jax.random.normal(jax.random.key(a.size), a.shape), params)
    found, sown = module.apply({"params": params}, h, mutable=[COLLECTION])
    ((gates, chosen),) = routings(sown)
    p = jax.nn.softmax(h @ params["router"]["kernel"])
    hidden = nn.swish(jnp.einsum("bld,edh->bleh", h, params["W_1"]) + params["b_1"][None, None])
    each = np.asarray(jnp.einsum("bleh,ehd->bled", hidden, params["W_2"]) + params["b_2"][None, None])
    expected = np.zeros((B, L, D))
    for b, i in np.ndindex(B, L):
        for e in np.argsort(-np.asarray(p[b, i]))[:k]:
            assert chosen[b, i, e] == 1
            expected[b, i] += p[b, i, e] * each[b, i, e]
    np.testing.assert_array_equal(chosen.sum(-1), k)
    np.testing.assert_allclose(gates, p, rtol=1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    count = sum(leaf.size for leaf in jax.tree.leaves({n: v for n, v in params.items() if n[0] == "W"}))
    assert count * k // 4 == 2 * D * 4 * D  # what a token passes through has the size of a perceptron


def test_the_balance_is_one_for_even_use_and_grows_to_the_number_of_experts():
    even = jnp.tile(jnp.eye(4), (2, 3, 1))
    one = jnp.zeros((2, 12, 4)).at[..., 0].set(1.0)
    np.testing.assert_allclose(balance([Routing(even, even)]), 1.0)
    np.testing.assert_allclose(balance([Routing(one, one)]), 4.0)
    np.testing.assert_allclose(balance([Routing(one, one), Routing(even, even)]), 2.5)
    np.testing.assert_allclose(evenness(jnp.stack([shares(even), shares(one)])), [1.0, 0.0], atol=1e-6)


def test_the_balance_pushes_the_router_away_from_the_expert_that_is_used_most():
    logits = jnp.zeros((1, 6, 3)).at[..., 0].set(0.1)

    def loss(logits):
        gates = jax.nn.softmax(logits)
        return balance([Routing(gates, jax.nn.one_hot(jnp.argmax(gates, -1), 3))]).mean()

    slope = np.asarray(jax.grad(loss)(logits))
    assert (slope[..., 0] > 0).all() and (slope[..., 1:] < 0).all()


def test_more_experts_of_a_token_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="top_k = 3 with 2 experts"):
        experts(2, 3).init(jax.random.key(0), jnp.zeros((1, 2, D)))

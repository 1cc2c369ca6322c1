"""Generation of a text, token by token."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.keys import SampleKey, SequenceKey, fold_in


class Texts(NamedTuple):
    """Tokens [B, T], and the logarithm of the probability that the model gives each text, in nats [B]."""

    tokens: Array
    logp_nats: Array


def sample_texts(
    keys: Array, logits_of: Callable[[Array], Array], length: int, *, temperature: float = 1.0, end: int = 0
) -> Texts:
    """A text of at most `length` tokens for each of `keys` [B], consumed; after the token `end` there is no other.

    logits_of: `tokens [B, T] -> [B, T, V]`, of each token given those before it. temperature: logits are divided by it;
    0: the likeliest token. logp_nats is that of the logits themselves.
    """
    keys = fold_in(fold_in(keys, SampleKey.SEQUENCE), SequenceKey.TEXT)
    B = len(keys)

    def body(carry: tuple[Array, Array, Array], k: Array) -> tuple[tuple[Array, Array, Array], None]:
        tokens, nats, ended = carry
        logp = jax.nn.log_softmax(jax.lax.dynamic_index_in_dim(logits_of(tokens), k, axis=1, keepdims=False))
        if temperature:
            noise = jax.vmap(lambda key: jax.random.gumbel(key, logp.shape[1:]))(fold_in(keys, k))
            token = jnp.argmax(logp / temperature + noise, axis=1)
        else:
            token = jnp.argmax(logp, axis=1)
        token = jnp.where(ended, end, token)
        nats = nats + jnp.where(ended, 0.0, jnp.take_along_axis(logp, token[:, None], axis=1)[:, 0])
        return (tokens.at[:, k].set(token.astype(tokens.dtype)), nats, ended | (token == end)), None

    start = (jnp.zeros((B, length), jnp.int32), jnp.zeros(B), jnp.zeros(B, bool))
    (tokens, nats, _), _ = jax.lax.scan(body, start, jnp.arange(length))
    return Texts(tokens, nats)

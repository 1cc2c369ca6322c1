"""Losses of a text and of masked image tokens, in sequences of several kinds."""

import jax
import jax.numpy as jnp

from core.arrays import Array


def text_nats(logits: Array, text: Array, end: int = 0) -> Array:
    """-ln p of each token given those before it, [B, T]: zero after the first token `end`, which fills the rest.

    logits [B, T, V], text [B, T].
    """
    logp = jnp.take_along_axis(jax.nn.log_softmax(logits), text[..., None].astype(jnp.int32), axis=-1)[..., 0]
    return jnp.where(given(text, end), -logp, 0.0)


def given(text: Array, end: int = 0) -> Array:
    """Which tokens [B, T] belong to a text: those up to the first `end`, with it."""
    ended = jnp.cumsum(text == end, axis=1) > 0
    return jnp.concatenate([jnp.ones((len(text), 1), bool), ~ended[:, :-1]], axis=1)


def kinds(keys: Array, shares: tuple[float, ...]) -> Array:
    """A kind [B], 0 ... len(shares) - 1, with the probabilities `shares`; `keys` [B], consumed."""
    u = jax.vmap(lambda key: jax.random.uniform(key, ()))(keys)
    ends = jnp.cumsum(jnp.asarray(shares))
    return jnp.minimum(jnp.sum(u[:, None] >= ends[None], axis=1), len(shares) - 1)


def mean_over(losses: Array, counted: Array) -> Array:
    """The mean [B] of the losses [B, L] that are `counted` [B, L]."""
    return jnp.sum(jnp.where(counted, losses, 0.0), axis=1) / jnp.maximum(jnp.sum(counted, axis=1), 1)


def where_kind(losses: Array, is_kind: Array, share: float) -> Array:
    """The losses [B] of examples of a kind, divided by its share, 0 for others: its mean is that over the kind."""
    return jnp.where(is_kind, losses, 0.0) / max(share, 1e-6)

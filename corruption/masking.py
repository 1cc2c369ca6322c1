"""Which tokens of an example are masked: the last ones of a random order, which generation reveals in rounds."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.keys import keys_at


def places(keys: Array, num_tokens: int) -> Array:
    """The place [B, L] of each token in a random order of an example, 0 ... L - 1; `keys` [B], consumed."""
    order = jax.vmap(lambda key: jax.random.uniform(key, (num_tokens,)))(keys)
    return jnp.argsort(jnp.argsort(order, axis=1), axis=1)


def masked(place: Array, share: Array) -> Array:
    """Whether each token [B, L] is masked: the last ceil(share L) of the order, at least one; share [B] in [0, 1]."""
    num_tokens = place.shape[1]
    num_masked = jnp.clip(jnp.ceil(share * num_tokens), 1, num_tokens)
    return place >= num_tokens - num_masked[:, None]


def known_after(num_tokens: int, num_rounds: int) -> tuple[int, ...]:
    """How many tokens are known after each of the rounds, which begin with none: few at first, then more and more.

    L (1 - cos(pi r / (2 R))), rounded, and at least one token in every round.
    Errors: ValueError for more rounds than tokens.
    Source: Chang et al., "MaskGIT", CVPR 2022, section 3.2 (the cosine schedule).
    """
    if not 1 <= num_rounds <= num_tokens:
        raise ValueError(f"There are {num_tokens} tokens, which can be revealed in 1 to {num_tokens} rounds.")
    known = [round(num_tokens * (1 - math.cos(math.pi * r / (2 * num_rounds)))) for r in range(1, num_rounds + 1)]
    for r in range(num_rounds):
        known[r] = min(max(known[r], r + 1), num_tokens - (num_rounds - 1 - r))
    return tuple(known)


def revealed(order: Array, first: Array, last: Array, width: int) -> tuple[Array, Array]:
    """The tokens [B, width] at places first ... last - 1 of an order [B, L], and which of the columns there are.

    width: at least last - first; columns beyond it repeat tokens and are not to be used.
    """
    column = first + jnp.arange(width)
    return order[:, jnp.clip(column, 0, order.shape[1] - 1)], jnp.broadcast_to(column < last, (len(order), width))


def keys_of_tokens(keys: Array, tokens: Array | Sequence[int]) -> Array:
    """The keys [B, n] of tokens: `tokens` [n], or [B, n] with those of each example; `keys` [B]."""
    tokens = jnp.asarray(tokens)
    return jax.vmap(keys_at, (0, 0 if tokens.ndim > 1 else None))(keys, tokens)

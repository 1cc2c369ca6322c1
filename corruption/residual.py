"""Sums of codes: what residual quantization makes of a vector, level by level.

A codebook is `vectors` [D, K, d]: K codes at each of D levels (the depth). Tokens [..., D] stand for the sum of their
codes, `sum_j vectors[j, tokens_j]`. The state K of a token is a mask: nothing is known of it.
"""

import jax
import jax.numpy as jnp

from core.arrays import Array

SAME = 1e-6  # the squared distance of codes that float32 does not tell apart, relative to their squares


def codes(vectors: Array, tokens: Array) -> Array:
    """The code of every token, [..., D, d]; zeros for masks."""
    depth, num_codes, _ = vectors.shape
    found = vectors[trailing(jnp.arange(depth), tokens.ndim), jnp.minimum(tokens, num_codes - 1)]
    return jnp.where((tokens < num_codes)[..., None], found, 0.0)


def total(vectors: Array, tokens: Array) -> Array:
    """The sum of the codes, [..., d]; of masked tokens, the sum of those that are not masked."""
    return jnp.sum(codes(vectors, tokens), axis=-2)


def quantized(vectors: Array, z: Array, first: Array) -> Array:
    """Tokens [..., D] of vectors z [..., d], int32: from level `first` [...] on, the nearest code of what is left.

    r_first = z,   k_j = argmin_k |r_j - c_jk|^2,   r_{j+1} = r_j - c_jk_j

    Levels before `first` have the token 0.
    """

    def level(r: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
        j, c = given
        counts, k = j >= first, nearest(c, r)
        return jnp.where(counts[..., None], r - c[k], r), jnp.where(counts, k, 0)

    _, tokens = jax.lax.scan(level, z, (jnp.arange(len(vectors)), vectors))
    return jnp.moveaxis(tokens, 0, -1)


def nearest(c: Array, r: Array) -> Array:
    """The index of the nearest of the codes c [K, d] to each vector r [..., d], int32."""
    return jnp.argmin(trailing(jnp.sum(c**2, axis=-1), r.ndim) - 2 * (r @ c.T), axis=-1).astype(jnp.int32)


def cell_radius(vectors: Array, tokens: Array, first: Array) -> Array:
    """The radius [...] of the largest ball around the sum of the codes from level `first` on that has these tokens.

        min over j >= first and m of (|r_j - c_jm|^2 - |r_j - c_jk|^2) / (2 |c_jm - c_jk|),   r_j = sum_{l >= j} c_lk_l

    Every vector of the ball is `quantized` to the tokens. Where the sum itself is not, the radius is negative; for
    `first` = D, where there is nothing to quantize, it is infinite.
    """
    kept = trailing(jnp.arange(len(vectors)), tokens.ndim) >= first[..., None]
    own = jnp.where(kept[..., None], codes(vectors, tokens), 0.0)

    def level(carry: tuple[Array, Array], given: tuple[Array, ...]) -> tuple[tuple[Array, Array], None]:
        (r, radius), (c, code, k, counts) = carry, given
        squares, own_square = trailing(jnp.sum(c**2, axis=-1), r.ndim), jnp.sum(code**2, axis=-1, keepdims=True)
        margin = squares - own_square - 2 * (r @ c.T - jnp.sum(r * code, axis=-1, keepdims=True))
        length = squares + own_square - 2 * (code @ c.T)  # squared
        others = (trailing(jnp.arange(len(c)), r.ndim) != k[..., None]) & (length > SAME * (squares + own_square))
        distance = jnp.where(others, margin / (2 * jnp.sqrt(jnp.where(others, length, 1.0))), jnp.inf)
        nearest_face = jnp.where(counts, jnp.min(distance, axis=-1), jnp.inf)
        return (r - code, jnp.minimum(radius, nearest_face)), None

    given = (vectors, jnp.moveaxis(own, -2, 0), jnp.moveaxis(tokens, -1, 0), jnp.moveaxis(kept, -1, 0))
    start = (jnp.sum(own, axis=-2), jnp.full(own.shape[:-2], jnp.inf))
    (_, radius), _ = jax.lax.scan(level, start, given)
    return radius


def trailing(a: Array, rank: int) -> Array:
    """An array as the last axes of one of `rank`."""
    return a.reshape((1,) * (rank - a.ndim) + a.shape)

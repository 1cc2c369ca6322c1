"""Self-attention over all pixels, and attention of all pixels to tokens."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from models.blocks.convolution import NIN
from models.blocks.normalization import GroupNorm


class AttnBlockpp(nn.Module):
    """x + NIN(softmax(q k^T / sqrt(C)) v), one head over all positions; divided by sqrt 2 if `skip_rescale`.

    Source: Ho et al., DDPM, 2020, appendix B. `limit`: see GroupNorm.
    """

    skip_rescale: bool = False
    init_scale: float = 0.0
    limit: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        B, *sides, C = x.shape
        h = GroupNorm(self.limit)(x)
        q, k, v = (NIN(C, dtype=self.dtype)(h).reshape(B, math.prod(sides), 1, C) for _ in range(3))
        h = jax.nn.dot_product_attention(q, k, v).reshape(x.shape)
        h = NIN(C, self.init_scale, self.dtype)(h)
        return (x + h) / math.sqrt(2) if self.skip_rescale else x + h


class AttnBlock(AttnBlockpp):
    """The same block under its name in DDPM."""


class CrossAttention(nn.Module):
    """x + W softmax(q k^T / sqrt(C)) v: queries of all positions, keys and values of the tokens that are given.

    x [B, ..., C], tokens [B, L, D], given bool [B, L]. W starts at zero, and without any token x is returned.
    """

    limit: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, tokens: Array, given: Array) -> Array:
        B, *sides, C = x.shape
        q = NIN(C, dtype=self.dtype)(GroupNorm(self.limit)(x)).reshape(B, math.prod(sides), 1, C)
        k, v = (NIN(C, dtype=self.dtype)(tokens)[:, :, None] for _ in range(2))
        h = jax.nn.dot_product_attention(q, k, v, mask=given[:, None, None, :]).reshape(x.shape)
        h = nn.Dense(C, use_bias=False, kernel_init=nn.initializers.zeros, dtype=self.dtype)(h)
        return x + jnp.where(broadcast_to_rank(given.any(axis=1), h), h, jnp.zeros((), h.dtype))

"""The block of transformers: attention on a grid of any rank, and a perceptron, modulated by a condition."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.arrays import Array
from models.blocks import rotary
from models.blocks.activations import Activation
from models.blocks.conditioning import ZEROS
from models.blocks.convolution import dense
from models.blocks.dropout import Dropout

Experts = Callable[..., nn.Module]  # (act, dtype, name) -> [B, L, D] to [B, L, D]


class Block(nn.Module):
    """Attention and a perceptron, each modulated and gated.

        h <- h + gate_1 attention(modulated_1(h)),   h <- h + gate_2 W_2 act(W_1 modulated_2(h)),
        modulated(h) = (1 + scale) norm(h) + shift,   gate, scale, shift = W modulation

    h: tokens [B, L, D] of a grid with `sides`. modulation [B, D]: of the condition; None: plain layer norms, no gates.
    W starts at zero, so that a block starts as the identity. rotated: queries and keys are turned by their positions
    (`blocks.rotary`). qk_norm: they are divided by their root mean square first, which bounds the logits.
    mask [B, L, L], bool: the keys that each query attends to; None: all.
    experts: makes what takes the place of the perceptron, such as `blocks.moe.MixtureOfExperts`; None: the perceptron.
    cached: how many tokens the collection "cache" keeps the keys and values of. h then has the tokens from number `at`
    on, and mask is [B, L, cached], without tokens that have not been given yet. Not with rotations.
    Source: Vaswani et al. 2017; the modulation: Peebles and Xie, ICCV 2023, section 3.2 (adaLN-Zero); the norms of
    queries and keys: Dehghani et al., ICML 2023, section 2.2, here by root mean squares.
    """

    num_heads: int
    dropout: float
    act: Activation
    dtype: Any
    rotated: bool = True
    qk_norm: bool = False
    experts: Experts | None = None
    cached: int = 0

    @nn.compact
    def __call__(
        self,
        h: Array,
        sides: tuple[int, ...],
        modulation: Array | None,
        train: bool,
        mask: Array | None = None,
        at: Array | int = 0,
    ) -> Array:
        D = h.shape[-1]
        drop = Dropout(self.dropout)
        r, *gate = modulated(h, modulation, 3, self.dtype, "modulation_1")
        q, k, v = jnp.split(dense(3 * D, dtype=self.dtype)(r), 3, axis=-1)
        r = self._attention(q, k, v, sides, mask, at)
        h = h + _gated(drop(dense(D, dtype=self.dtype)(r), train), gate)
        r, *gate = modulated(h, modulation, 3, self.dtype, "modulation_2")
        if self.experts is None:
            r = dense(D, dtype=self.dtype)(self.act(dense(4 * D, dtype=self.dtype)(r)))
        else:
            r = self.experts(act=self.act, dtype=self.dtype, name="experts")(r)
        return h + _gated(drop(r, train), gate)

    def _attention(
        self, q: Array, k: Array, v: Array, sides: tuple[int, ...], mask: Array | None, at: Array | int
    ) -> Array:
        """Attention of queries to keys [B, L, D], in heads: [B, L, D]."""
        B, L, D = q.shape
        q, k, v = (a.reshape(B, L, self.num_heads, -1) for a in (q, k, v))
        if self.qk_norm:
            q, k = (nn.RMSNorm(dtype=self.dtype, name=name)(a) for a, name in ((q, "norm_q"), (k, "norm_k")))
        if self.rotated:
            theta = rotary.angles(sides, D // self.num_heads)
            q, k = rotary.rotate(q, theta), rotary.rotate(k, theta)
        if self.cached:
            k, v = (self._with_earlier(name, a, at) for name, a in (("keys", k), ("values", v)))
        heads = None if mask is None else mask[:, None]
        return jax.nn.dot_product_attention(q, k, v, mask=heads).reshape(B, L, D)

    def _with_earlier(self, name: str, a: Array, at: Array | int) -> Array:
        """Keys or values [B, L, H, d] behind those of the calls before, [B, cached, H, d]."""
        shape = (a.shape[0], self.cached, *a.shape[2:])
        kept = self.variable("cache", name, jnp.zeros, shape, a.dtype)
        kept.value = jax.lax.dynamic_update_slice_in_dim(kept.value, a, at, axis=1)
        return kept.value


def modulated(h: Array, modulation: Array | None, num: int, dtype: Any, name: str) -> list[Array]:
    """The normalized h [B, L, D], scaled and shifted, and with `num` = 3 also the gate [B, 1, D]."""
    h = nn.LayerNorm(use_bias=modulation is None, use_scale=modulation is None, dtype=dtype)(h)
    if modulation is None:
        return [h]
    parts = nn.Dense(num * h.shape[-1], kernel_init=ZEROS, dtype=dtype, name=name)(modulation)[:, None]
    scale, shift, *gate = jnp.split(parts, num, axis=-1)
    return [(1 + scale) * h + shift, *gate]


def _gated(r: Array, gate: list[Array]) -> Array:
    """r, times its gate if there is one."""
    return gate[0] * r if gate else r

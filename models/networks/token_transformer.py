"""A bidirectional transformer on a grid or a sequence of categories, conditioned on time and class."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks import rotary
from models.blocks.activations import ACTIVATIONS, Activation
from models.blocks.conditioning import ZEROS, Embedding, Entry
from models.blocks.convolution import dense
from models.blocks.remat import Remat, block
from models.heads.ordered import HEADS, logistic

ENTRIES: tuple[Entry, ...] = ("add",)  # ways in for signals


class TokenTransformer(nn.Module):
    """Logits of the categories of every site, from categories.

    x: integers [B, *sides, C], or [B, L]; each of 0 ... num_states - 1. time [B], cond: see `conditioning.Embedding`,
    the field `embedding`. Returns [B, *sides, C, num_categories] or [B, L, num_categories], float32; needs a `dropout`
    key if `train` and `dropout` > 0. The C sites of a position are one token.

        h <- h + gate_1 attention(modulated_1(h)),   h <- h + gate_2 W_2 act(W_1 modulated_2(h)),
        modulated(h) = (1 + scale) norm(h) + shift,   gate, scale, shift = W act(temb)

    nf: a quarter of the width. num_blocks, num_heads; shape: that of an example. Positions are learned vectors added to
    the tokens, and rotations of queries and keys (`blocks.rotary`). output: a row of `HEADS`, logits of each category,
    or an ordered distribution. W and the output start at zero.
    Errors: ValueError for an unknown choice or another shape.
    Source: Vaswani et al. 2017; the modulation: Peebles and Xie, ICCV 2023, section 3.2 (adaLN-Zero).
    """

    num_categories: int
    num_states: int
    shape: Sequence[int]
    nf: int = 16
    num_blocks: int = 3
    num_heads: int = 4
    dropout: float = 0.0
    embedding: Embedding = Embedding()
    output: str = "categories"
    nonlinearity: str = "swish"
    remat: Remat = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, time: Array, cond: Mapping[str, Any] | None = None, *, train: bool = False) -> Array:
        interface.check_choice("nonlinearity", self.nonlinearity, tuple(ACTIVATIONS))
        interface.check_choice("output", self.output, HEADS)
        if x.shape[1:] != tuple(self.shape):
            raise ValueError(f"Input of shape {x.shape}: expected categories [B, {', '.join(map(str, self.shape))}].")
        shape = (*self.shape, 1) if len(self.shape) == 1 else tuple(self.shape)
        sides, channels = shape[:-1], shape[-1]
        act, width = ACTIVATIONS[self.nonlinearity], 4 * self.nf
        temb = self.embedding(time, cond, nf=self.nf, act=act, dtype=self.dtype).temb
        modulation = None if temb is None else act(temb)
        sites = x.reshape(len(x), -1, channels) + self.num_states * jnp.arange(channels)[None, None]
        h = nn.Embed(self.num_states * channels, width, dtype=self.dtype, name="categories")(sites).sum(axis=2)
        positions = self.param("positions", nn.initializers.normal(0.02), (h.shape[1], width))
        h = h + positions[None].astype(h.dtype)
        for k in range(self.num_blocks):
            kind = block(Block, self.remat, static=(2, 4))
            h = kind(self.num_heads, self.dropout, act, self.dtype, name=f"block_{k}")(h, sides, modulation, train)
        (h,) = _modulated(h, modulation, 2, self.dtype, "modulation")
        size = self.num_categories if self.output == "categories" else 2
        out = dense(channels * size, init_scale=0.0, dtype=self.dtype)(h).astype(jnp.float32)
        out = out.reshape(*x.shape, size)
        return out if self.output == "categories" else logistic(out, self.num_categories)


class Block(nn.Module):
    """Attention and a perceptron, each modulated and gated; see `TokenTransformer`."""

    num_heads: int
    dropout: float
    act: Activation
    dtype: Any

    @nn.compact
    def __call__(self, h: Array, sides: tuple[int, ...], modulation: Array | None, train: bool) -> Array:
        B, L, D = h.shape
        theta = rotary.angles(sides, D // self.num_heads)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        r, *gate = _modulated(h, modulation, 3, self.dtype, "modulation_1")
        q, k, v = (
            a.reshape(B, L, self.num_heads, -1) for a in jnp.split(dense(3 * D, dtype=self.dtype)(r), 3, axis=-1)
        )
        r = jax.nn.dot_product_attention(rotary.rotate(q, theta), rotary.rotate(k, theta), v).reshape(h.shape)
        h = h + _gated(drop(dense(D, dtype=self.dtype)(r)), gate)
        r, *gate = _modulated(h, modulation, 3, self.dtype, "modulation_2")
        r = dense(D, dtype=self.dtype)(self.act(dense(4 * D, dtype=self.dtype)(r)))
        return h + _gated(drop(r), gate)


def _modulated(h: Array, modulation: Array | None, num: int, dtype: Any, name: str) -> list[Array]:
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

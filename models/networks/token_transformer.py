"""A bidirectional transformer on a grid or a sequence of categories, conditioned on time and class."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks.activations import ACTIVATIONS
from models.blocks.conditioning import Embedding, Entry
from models.blocks.convolution import dense
from models.blocks.remat import Remat, block
from models.blocks.transformer import Block, modulated
from models.heads.ordered import HEADS, logistic

ENTRIES: tuple[Entry, ...] = ("add",)  # ways in for signals


class TokenTransformer(nn.Module):
    """Logits of the categories of every site, from categories.

    x: integers [B, *sides, C], or [B, L]; each of 0 ... num_states - 1. time [B], cond: see `conditioning.Embedding`,
    the field `embedding`. Returns [B, *sides, C, num_categories] or [B, L, num_categories], float32; needs a `dropout`
    key if `train` and `dropout` > 0. The C sites of a position are one token.

        tokens = vectors of categories + positions,   tokens <- block(tokens) (`blocks.transformer.Block`)

    nf: a quarter of the width. num_blocks, num_heads; shape: that of an example. Positions are learned vectors added to
    the tokens, and rotations of queries and keys (`blocks.rotary`). output: a row of `HEADS`, logits of each category,
    or an ordered distribution, which starts at zero.
    Errors: ValueError for an unknown choice or another shape.
    Source: Vaswani et al. 2017; Peebles and Xie, ICCV 2023.
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
        (h,) = modulated(h, modulation, 2, self.dtype, "modulation")
        size = self.num_categories if self.output == "categories" else 2
        out = dense(channels * size, init_scale=0.0, dtype=self.dtype)(h).astype(jnp.float32)
        out = out.reshape(*x.shape, size)
        return out if self.output == "categories" else logistic(out, self.num_categories)

"""Transformers of residual tokens: of positions whose deepest tokens are masked, and of a sequence of all tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models.blocks.activations import ACTIVATIONS
from models.blocks.conditioning import Embedding
from models.blocks.remat import Remat, block
from models.blocks.transformer import Block, modulated


class ResidualTransformer(nn.Module):
    """What `head` says of each position, from the sums of the known codes and how many tokens are masked.

        h = W known + vectors of numbers + positions,   h <- block(h) (`blocks.transformer.Block`),   head(h)

    known: [B, *sides, d]. counts: [B, *sides], 0 ... depth. time [B], cond: see `conditioning.Embedding`. All positions
    attend to each other. nf: a quarter of the width. Needs a `dropout` key if `train` and `dropout` > 0.
    Source: Kim et al., ICML 2025, section 3.3.
    """

    head: nn.Module
    depth: int
    sides: Sequence[int]
    nf: int = 16
    num_blocks: int = 3
    num_heads: int = 4
    dropout: float = 0.0
    embedding: Embedding = Embedding()
    nonlinearity: str = "swish"
    remat: Remat = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, known: Array, counts: Array, time: Array, cond: Mapping[str, Any] | None = None, *, train: bool = False
    ) -> Any:
        act, width = ACTIVATIONS[self.nonlinearity], 4 * self.nf
        temb = self.embedding(time, cond, nf=self.nf, act=act, dtype=self.dtype).temb
        modulation = None if temb is None else act(temb)
        B, d = len(known), known.shape[-1]
        h = nn.Dense(width, dtype=self.dtype, name="known")(known.reshape(B, -1, d))
        h = h + nn.Embed(self.depth + 1, width, dtype=self.dtype, name="counts")(counts.reshape(B, -1))
        positions = self.param("positions", nn.initializers.normal(0.02), (h.shape[1], width))
        h = h + positions[None].astype(h.dtype)
        for k in range(self.num_blocks):
            kind = block(Block, self.remat, static=(2, 4))
            h = kind(self.num_heads, self.dropout, act, self.dtype, name=f"block_{k}")(
                h, tuple(self.sides), modulation, train
            )
        (h,) = modulated(h, modulation, 2, self.dtype, "modulation")
        return self.head(h)


class CausalTransformer(nn.Module):
    """Log-probabilities of each token given those before it, in the order of positions and, within one, of depths.

    x: tokens [B, *sides, D]; those that are not known yet may have any state. Returns [B, *sides, D, K],
    float32. The rest as `ResidualTransformer`; a token sees itself and those before it. Source: Lee et al., CVPR 2022,
    section 3.2, with one transformer for both axes.
    """

    head: nn.Module
    num_categories: int
    shape: Sequence[int]
    nf: int = 16
    num_blocks: int = 3
    num_heads: int = 4
    dropout: float = 0.0
    embedding: Embedding = Embedding()
    nonlinearity: str = "swish"
    remat: Remat = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, time: Array, cond: Mapping[str, Any] | None = None, *, train: bool = False) -> Array:
        act, width, depth = ACTIVATIONS[self.nonlinearity], 4 * self.nf, self.shape[-1]
        temb = self.embedding(time, cond, nf=self.nf, act=act, dtype=self.dtype).temb
        modulation = None if temb is None else act(temb)
        B, K = len(x), self.num_categories
        levels = jnp.arange(depth).reshape((1,) * len(self.shape) + (depth,))
        states = (jnp.minimum(x, K - 1) + K * levels).reshape(B, -1)
        h = nn.Embed(K * depth, width, dtype=self.dtype, name="tokens")(states)
        h = jnp.pad(h[:, :-1], ((0, 0), (1, 0), (0, 0)))  # each sees those before it; the first one nothing
        positions = self.param("positions", nn.initializers.normal(0.02), (h.shape[1], width))
        h = h + positions[None].astype(h.dtype)
        before = jnp.broadcast_to(jnp.tril(jnp.ones((1, h.shape[1], h.shape[1]), bool)), (B, h.shape[1], h.shape[1]))
        for k in range(self.num_blocks):
            kind = block(Block, self.remat, static=(2, 4))
            own = kind(self.num_heads, self.dropout, act, self.dtype, name=f"block_{k}")
            h = own(h, (h.shape[1],), modulation, train, before)
        (h,) = modulated(h, modulation, 2, self.dtype, "modulation")
        return jnp.reshape(self.head(h), (*x.shape, K))

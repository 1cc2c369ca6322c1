"""Gated residual blocks with state-space layers: the score network of time series."""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks.activations import ACTIVATIONS
from models.blocks.conditioning import Embedding, Entry
from models.blocks.convolution import dense, over_space
from models.blocks.dropout import Dropout
from models.blocks.s4 import S4D

ENTRIES: tuple[Entry, ...] = ("add", "concat")  # ways in for signals


class S4Residual(nn.Module):
    """Noise (or score) network of series of any length and any number of channels, such as lagged copies.

    x: [B, L, C] with C = `num_channels`. time [B], cond: see `conditioning.Embedding`, the field `embedding`.
    Returns [B, L, C] in the dtype of x; needs a `dropout` key if `train` and `dropout` > 0.

        h = act(W x)
        a, b = W_1 S4D(norm(h + W_t act(temb))),    r, s = W_2 (tanh(a) sigmoid(b)),    h <- (h + r) / sqrt 2
        out = W_out act(W_s sum of all s / sqrt(num_res_blocks))

    nf: the width. num_res_blocks: the number of blocks in the second line. state_size: twice the complex modes of each
    channel of S4D. norm and all W are over the
    channels of each time; W_out starts near zero. The other fields are those
    of NCSN++. Errors: ValueError for an unknown choice or an invalid shape.
    Source: Kollovieh et al., "Predict, Refine, Synthesize", NeurIPS 2023, appendix B; blocks as in Kong et al.,
    "DiffWave", ICLR 2021, section 3.1.
    """

    nf: int = 64
    num_res_blocks: int = 3
    state_size: int = 128
    dropout: float = 0.0
    embedding: Embedding = Embedding()
    init_scale: float = 0.0
    scale_by_sigma: bool = False
    nonlinearity: str = "swish"
    normalization: str = "GroupNorm"
    num_channels: int = 1
    centered: bool = True
    sigmas: tuple[float, ...] | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, time: Array, cond: Mapping[str, Any] | None = None, *, train: bool = False) -> Array:
        interface.check_choice("nonlinearity", self.nonlinearity, tuple(ACTIVATIONS))
        interface.check_grid(x, self.num_channels, 1, (1,))
        for signal in self.embedding.signals:
            interface.check_choice(f"entry of {signal.name}", signal.entry, ENTRIES)
        act = ACTIVATIONS[self.nonlinearity]
        temb = self.embedding(time, cond, nf=self.nf, act=act, dtype=self.dtype).temb
        h = dense(self.nf, dtype=self.dtype)((x if self.centered else 2 * x - 1).astype(self.dtype))
        h, skips = act(self.embedding.concatenate(h, cond)), []
        for _ in range(self.num_res_blocks):
            r = h if temb is None else h + over_space(dense(self.nf, dtype=self.dtype)(act(temb)), h)
            r = S4D(self.state_size // 2)(nn.LayerNorm(dtype=self.dtype)(r))
            r = Dropout(self.dropout)(r, train)
            a, b = jnp.split(dense(2 * self.nf, dtype=self.dtype)(r), 2, axis=-1)
            r, s = jnp.split(dense(2 * self.nf, dtype=self.dtype)(jnp.tanh(a) * nn.sigmoid(b)), 2, axis=-1)
            h = (h + r) / math.sqrt(2)
            skips.append(s)
        s = dense(self.nf, dtype=self.dtype)(sum(skips) / math.sqrt(self.num_res_blocks))
        out = dense(self.num_channels, init_scale=self.init_scale, dtype=self.dtype)(act(s)).astype(x.dtype)
        takes_sigma = self.embedding.takes_sigma
        return interface.over_sigma(out, self.sigmas, time, is_sigma=takes_sigma) if self.scale_by_sigma else out

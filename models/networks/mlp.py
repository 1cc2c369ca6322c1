"""A residual multilayer perceptron: the score network of vectors, which have no spatial axes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks.activations import ACTIVATIONS
from models.blocks.conditioning import Embedding, Entry, modulate
from models.blocks.convolution import dense
from models.blocks.dropout import Dropout
from models.blocks.normalization import GroupNorm

ENTRIES: tuple[Entry, ...] = ("add", "norm", "concat")  # ways in for signals; there is no attention


class MLP(nn.Module):
    """Noise (or score) network of vectors, conditioned as NCSN++ is, except that it has nothing to attend with.

    x: [B, D] with D = `num_channels`. time [B], cond: see `conditioning.Embedding`, the field `embedding`.
    Returns [B, D] in the dtype of x; needs a `dropout` key if `train` and `dropout` > 0.

        h = W x,    h <- (h + W_2 act(norm(W_1 act(norm(h)) + W_t act(temb)))) / sqrt 2,    out = W_out act(norm(h))

    nf: a quarter of the width, which is that of the time embedding, 4 nf. num_res_blocks: the number of blocks in the
    formula. W_2 and W_out start near zero. norm is over the whole vector (Ba et al., "Layer Normalization", 2016). The
    other fields are those of NCSN++. Errors: ValueError for an unknown choice or an invalid shape.
    """

    nf: int = 64
    num_res_blocks: int = 4
    dropout: float = 0.0
    embedding: Embedding = Embedding()
    init_scale: float = 0.0
    scale_by_sigma: bool = False
    nonlinearity: str = "swish"
    normalization: str = "GroupNorm"
    num_channels: int = 2
    centered: bool = True
    sigmas: Sequence[float] | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, time: Array, cond: Mapping[str, Any] | None = None, *, train: bool = False) -> Array:
        interface.check_choice("nonlinearity", self.nonlinearity, tuple(ACTIVATIONS))
        if x.ndim != 2 or x.shape[1] != self.num_channels:
            raise ValueError(f"Input of shape {x.shape}: expected vectors [B, {self.num_channels}].")
        for signal in self.embedding.signals:
            interface.check_choice(f"entry of {signal.name}", signal.entry, ENTRIES)
        act, width = ACTIVATIONS[self.nonlinearity], 4 * self.nf
        c = self.embedding(time, cond, nf=self.nf, act=act, dtype=self.dtype)
        h = dense(width, dtype=self.dtype)((x if self.centered else 2 * x - 1).astype(self.dtype))
        h = self.embedding.concatenate(h, cond)
        for k in range(self.num_res_blocks):
            r = dense(width, dtype=self.dtype)(act(GroupNorm(1)(h)))
            if c.temb is not None:
                r = r + dense(width, dtype=self.dtype)(act(c.temb))
            r = modulate(GroupNorm(1)(r), c.modulation, act, self.dtype, f"modulation_{k}")
            r = Dropout(self.dropout)(act(r), train)
            h = (h + dense(width, init_scale=self.init_scale, dtype=self.dtype)(r)) / math.sqrt(2)
        out = dense(self.num_channels, init_scale=self.init_scale, dtype=self.dtype)(act(GroupNorm(1)(h)))
        out = out.astype(x.dtype)
        takes_sigma = self.embedding.takes_sigma
        return interface.over_sigma(out, self.sigmas, time, is_sigma=takes_sigma) if self.scale_by_sigma else out

"""A diffusion model of one continuous token given a state: a perceptron with adaptive norms."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks.activations import ACTIVATIONS
from models.blocks.conditioning import Embedding
from models.blocks.convolution import dense
from models.blocks.transformer import modulated


class DiffusionHead(nn.Module):
    """The output of a score model for tokens x [N, d] at times [N], given states [N, D] of a backbone.

        h = W x,   c = embedding(time) + W_s state
        h <- h + gate W_2 act(W_1 ((1 + scale) norm(h) + shift)),   gate, scale, shift = W_c act(c),  num_blocks times

    nf: a quarter of the width. Returns [N, d] in the dtype of x. Blocks start as the identity, the output at zero.
    Source: Li et al., "Autoregressive Image Generation without Vector Quantization", NeurIPS 2024, section 3.3.
    """

    nf: int = 24
    num_blocks: int = 3
    embedding: Embedding = Embedding()
    nonlinearity: str = "swish"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, time: Array, state: Array) -> Array:
        interface.check_choice("nonlinearity", self.nonlinearity, tuple(ACTIVATIONS))
        act, width = ACTIVATIONS[self.nonlinearity], 4 * self.nf
        temb = self.embedding(time, None, nf=self.nf, act=act, dtype=self.dtype).temb
        c = dense(width, dtype=self.dtype)(state.astype(self.dtype))
        c = act(c if temb is None else c + temb)
        h = dense(width, dtype=self.dtype)(x.astype(self.dtype))[:, None]
        for k in range(self.num_blocks):
            r, gate = modulated(h, c, 3, self.dtype, f"modulation_{k}")
            h = h + gate * dense(width, dtype=self.dtype)(act(dense(width, dtype=self.dtype)(r)))
        (h,) = modulated(h, c, 2, self.dtype, "modulation")
        return dense(x.shape[-1], init_scale=0.0, dtype=self.dtype)(h)[:, 0].astype(x.dtype)

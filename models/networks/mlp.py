"""A residual multilayer perceptron: the score network of vectors, which have no spatial axes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks import conditioning
from models.blocks.activations import ACTIVATIONS
from models.blocks.convolution import dense
from models.blocks.normalization import GroupNorm


class MLP(nn.Module):
    """Noise (or score) network of vectors, conditioned on time, class label and augmentation as NCSN++ is.

    x: [B, D] with D = `num_channels`. time [B], cond: see `conditioning.embed`.
    Returns [B, D] in the dtype of x; needs a `dropout` key if `train` and `dropout` > 0.

        h = W x,    h <- (h + W_2 act(norm(W_1 act(norm(h)) + W_t act(temb)))) / sqrt 2,    out = W_out act(norm(h))

    nf: a quarter of the width, which is that of the time embedding, 4 nf. num_res_blocks: the number of blocks in the
    formula. W_2 and W_out start near zero. norm is over the whole vector (Ba et al., "Layer Normalization", 2016). The
    other fields are those of NCSN++. Errors: ValueError for an unknown choice or an invalid shape.
    """

    nf: int = 64
    num_res_blocks: int = 4
    dropout: float = 0.0
    conditional: bool = True
    embedding_type: str = "positional"
    fourier_scale: float = 16.0
    init_scale: float = 0.0
    scale_by_sigma: bool = False
    nonlinearity: str = "swish"
    normalization: str = "GroupNorm"
    num_channels: int = 2
    num_classes: int = 0
    augment_dim: int = 0
    centered: bool = True
    sigmas: Sequence[float] | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, time: Array, cond: Mapping[str, Any] | None = None, *, train: bool = False) -> Array:
        interface.check_choice("nonlinearity", self.nonlinearity, tuple(ACTIVATIONS))
        interface.check_choice("embedding_type", self.embedding_type, ("fourier", "positional"))
        if x.ndim != 2 or x.shape[1] != self.num_channels:
            raise ValueError(f"Input of shape {x.shape}: expected vectors [B, {self.num_channels}].")
        act, width = ACTIVATIONS[self.nonlinearity], 4 * self.nf
        temb = conditioning.embed(
            time,
            cond,
            nf=self.nf,
            act=act,
            embedding_type=self.embedding_type,
            fourier_scale=self.fourier_scale,
            conditional=self.conditional,
            num_classes=self.num_classes,
            augment_dim=self.augment_dim,
            dtype=self.dtype,
        )
        h = dense(width, dtype=self.dtype)((x if self.centered else 2 * x - 1).astype(self.dtype))
        for _ in range(self.num_res_blocks):
            r = dense(width, dtype=self.dtype)(act(GroupNorm(1)(h)))
            if temb is not None:
                r = r + dense(width, dtype=self.dtype)(act(temb))
            r = nn.Dropout(self.dropout)(act(GroupNorm(1)(r)), deterministic=not train)
            h = (h + dense(width, init_scale=self.init_scale, dtype=self.dtype)(r)) / math.sqrt(2)
        out = dense(self.num_channels, init_scale=self.init_scale, dtype=self.dtype)(act(GroupNorm(1)(h)))
        out = out.astype(x.dtype)
        if self.scale_by_sigma:
            sigma = time if self.embedding_type == "fourier" else interface.sigma_of_level(self.sigmas, time)
            out = out / interface.per_example(sigma, out)
        return out

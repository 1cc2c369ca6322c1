"""A residual perceptron: the score network of vectors, which have no axes of space."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks import conditioning, layers


class MLP(nn.Module):
    """Noise (or score) network of vectors; it is told the time, the class and the augmentation as NCSN++ is.

    x: [B, D] with D = `num_channels`. time [B], cond: see `conditioning.embed`.
    Returns [B, D] in the type of x; needs a `dropout` key if `train` and `dropout` > 0.

        h = W x,    h <- (h + W_2 act(norm(W_1 act(norm(h)) + W_t act(temb)))) / sqrt 2,    out = W_out act(norm(h))

    `nf`: a quarter of the width, which is that of the time's embedding, 4 nf; `num_res_blocks`: of the blocks in the
    formula. W_2 and W_out start near zero. norm is over the whole vector (Ba et al., "Layer Normalization", 2016). The
    other fields are those of NCSN++. Errors: ValueError for a choice or a shape that the network does not have.
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
        interface.check_choice("nonlinearity", self.nonlinearity, tuple(layers.ACTIVATIONS))
        interface.check_choice("embedding_type", self.embedding_type, ("fourier", "positional"))
        if x.ndim != 2 or x.shape[1] != self.num_channels:
            raise ValueError(f"Input of shape {x.shape}: expected vectors [B, {self.num_channels}].")
        act, width = layers.ACTIVATIONS[self.nonlinearity], 4 * self.nf
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
        h = layers.dense(width, dtype=self.dtype)((x if self.centered else 2 * x - 1).astype(self.dtype))
        for _ in range(self.num_res_blocks):
            r = layers.dense(width, dtype=self.dtype)(act(layers.GroupNorm(1)(h)))
            if temb is not None:
                r = r + layers.dense(width, dtype=self.dtype)(act(temb))
            r = nn.Dropout(self.dropout)(act(layers.GroupNorm(1)(r)), deterministic=not train)
            h = (h + layers.dense(width, init_scale=self.init_scale, dtype=self.dtype)(r)) / math.sqrt(2)
        out = layers.dense(self.num_channels, init_scale=self.init_scale, dtype=self.dtype)(act(layers.GroupNorm(1)(h)))
        out = out.astype(x.dtype)
        if self.scale_by_sigma:
            sigma = time if self.embedding_type == "fourier" else interface.sigma_of_level(self.sigmas, time)
            out = out / interface.per_example(sigma, out)
        return out

"""The magnitude-preserving U-Net of EDM2."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks.conditioning import Embedding
from models.blocks.convolution import spatial_rank
from models.blocks.magnitude_preserving import MPBlock, MPFourier, MPLinear, mp_concat, mp_silu, mp_sum
from models.blocks.remat import Remat, block
from models.blocks.resample import mean_downsample, nearest_upsample

HEAD = 64  # channels of a head of attention, or more where that does not divide them


def num_heads(features: int) -> int:
    """The largest divisor of `features` that is at most features / 64: heads of 64 channels, or of a few more."""
    return max(n for n in range(1, max(features // HEAD, 1) + 1) if features % n == 0)


class EDM2(nn.Module):
    """A U-Net in which no layer changes the magnitude of activations, for inputs of magnitude one.

    x: [B, L, C], [B, H, W, C] or [B, D, H, W, C] with C = `num_channels`, and sides that are multiples of
    2^(levels - 1). time [B], cond: as in `conditioning.Embedding`, the field `embedding`; the time and class labels
    are used. Returns the shape and dtype of x; needs a `dropout` key if `train` and `dropout` > 0.

    The embedding has max(ch_mult) nf channels: Fourier features of ln(time) / 4, or of time / 250 - 2 for a label, and
    the class, summed. The encoder has a block at each change of resolution and `num_res_blocks` at each resolution, the
    decoder one more; `attn_resolutions` are heights with attention, in heads of 64 channels
    (or the next number that divides the width). The output is scaled by
    a learned gain that starts at zero. centered: x is in [-1, 1], not in [0, 1].
    Source: Karras et al., CVPR 2024, config G of table 1. Errors: ValueError for an invalid shape.
    Notes: a noise level is embedded as published; the range of a time label is mapped to about that of ln(sigma) / 4.
    """

    nf: int = 128
    ch_mult: Sequence[int] = (1, 2, 3, 4)
    num_res_blocks: int = 3
    attn_resolutions: Sequence[int] = (16, 8)
    dropout: float = 0.0
    embedding: Embedding = Embedding("fourier")
    num_channels: int = 3
    centered: bool = True
    remat: Remat = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, time: Array, cond: Mapping[str, Any] | None = None, *, train: bool = False) -> Array:
        interface.check_grid(x, self.num_channels, 2 ** (len(self.ch_mult) - 1))
        embedding = self._embedding(time, cond)
        h = (x if self.centered else 2 * x - 1).astype(self.dtype)
        h = jnp.concatenate([h, jnp.ones_like(h[..., :1])], axis=-1)  # in place of biases
        rank = spatial_rank(x)
        h = MPLinear(self.ch_mult[0] * self.nf, size=3, rank=rank, dtype=self.dtype, name="input")(h)
        skips = self._encode(h, embedding, train)
        h = self._decode(skips, embedding, train)
        gain = self.param("gain", nn.initializers.zeros, ())
        return MPLinear(self.num_channels, size=3, rank=rank, dtype=self.dtype, name="output")(h, gain).astype(x.dtype)

    def _embedding(self, time: Array, cond: Mapping[str, Any] | None) -> Array:
        """The vector [B, max(ch_mult) nf] that modulates the blocks."""
        width = max(self.ch_mult) * self.nf
        level = jnp.log(time) / 4 if self.embedding.takes_sigma else time / 250 - 2
        features = MPFourier(self.nf)(level if self.embedding.conditional else jnp.zeros_like(level))
        embedding = MPLinear(width, dtype=self.dtype, name="time")(features)
        if num_classes := self.embedding.num_classes:
            if cond is None or "labels" not in cond:
                raise ValueError(f"num_classes = {num_classes} needs cond = {{'labels': int [B]}}, got {cond}.")
            one_hot = nn.one_hot(cond["labels"], num_classes) * num_classes**0.5
            embedding = mp_sum(embedding, MPLinear(width, dtype=self.dtype, name="Embed_0")(one_hot), 0.5)
        return mp_silu(embedding)

    def _encode(self, h: Array, embedding: Array, train: bool) -> list[Array]:
        """All feature maps on the way down, from the first, h, to the coarsest."""
        skips = [h]
        for level, multiple in enumerate(self.ch_mult):
            if level:
                h = self._block(h.shape[-1], True, False, f"down_{level}")(mean_downsample(h), embedding, train)
                skips.append(h)
            for k in range(self.num_res_blocks):
                attends = h.shape[1] in self.attn_resolutions
                h = self._block(multiple * self.nf, True, attends, f"encoder_{level}_{k}")(h, embedding, train)
                skips.append(h)
        return skips

    def _decode(self, skips: list[Array], embedding: Array, train: bool) -> Array:
        """From the coarsest feature map to the last one at full resolution; consumes `skips` from its end."""
        h = skips[-1]
        for k, attends in enumerate((True, False)):
            h = self._block(h.shape[-1], False, attends, f"middle_{k}")(h, embedding, train)
        for level, multiple in reversed(list(enumerate(self.ch_mult))):
            if level < len(self.ch_mult) - 1:
                h = self._block(h.shape[-1], False, False, f"up_{level}")(nearest_upsample(h), embedding, train)
            for k in range(self.num_res_blocks + 1):
                attends = h.shape[1] in self.attn_resolutions
                h = mp_concat(h, skips.pop())
                h = self._block(multiple * self.nf, False, attends, f"decoder_{level}_{k}")(h, embedding, train)
        return h

    def _block(self, features: int, encoder: bool, attends: bool, name: str) -> nn.Module:
        kind = block(MPBlock, self.remat, static=(3,))
        heads = num_heads(features) if attends else 0
        return kind(features, encoder, heads, self.dropout, dtype=self.dtype, name=name)

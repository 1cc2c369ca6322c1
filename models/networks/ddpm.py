"""DDPM: the U-shaped network of denoising diffusion probabilistic models."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks.activations import ACTIVATIONS, Activation
from models.blocks.attention import AttnBlock
from models.blocks.conditioning import Embedding
from models.blocks.convolution import conv, spatial_rank
from models.blocks.normalization import GroupNorm
from models.blocks.remat import Remat, block
from models.blocks.resample import Downsample, Upsample
from models.blocks.residual import ResnetBlockDDPM

GROUPS = 32


class DDPM(nn.Module):
    """Noise (or score) network; the published field names.

    x: [B, L, C], [B, H, W, C] or [B, D, H, W, C], which determines the rank of the network; C = `num_channels`,
        and sides are multiples of 2^(levels - 1), levels = len(ch_mult).
    time: [B], a time label, roughly 0 ... 1000. cond: not used.
    Returns an array with the shape and dtype of x; needs a `dropout` key if `train` and `dropout` > 0.

    Fields: `attn_resolutions` are heights (first sides) of feature maps with attention;
    `centered = False` lets the network map x from [0, 1] to [-1, 1] itself; `scale_by_sigma` divides the output by
    `sigmas[int(time)]`, the noise levels in descending order; `dtype` is the dtype of convolutions; `remat`
    computes the activations of blocks again for the gradient.

    Source: Ho et al., "Denoising Diffusion Probabilistic Models", 2020, appendix B. Errors: ValueError for an
    unknown choice or an invalid shape. Notes: GroupNorm has the largest number of groups up to 32 that divides the
    width; published: 32.
    """

    nf: int = 128
    ch_mult: Sequence[int] = (1, 2, 2, 2)
    num_res_blocks: int = 2
    attn_resolutions: Sequence[int] = (16,)
    dropout: float = 0.1
    resamp_with_conv: bool = True
    conditional: bool = True
    scale_by_sigma: bool = False
    nonlinearity: str = "swish"
    normalization: str = "GroupNorm"
    num_channels: int = 3
    centered: bool = True
    sigmas: Sequence[float] | None = None
    dtype: Any = jnp.float32
    remat: Remat = False

    @nn.compact
    def __call__(self, x: Array, time: Array, cond: Mapping[str, Any] | None = None, *, train: bool = False) -> Array:
        interface.check_choice("nonlinearity", self.nonlinearity, tuple(ACTIVATIONS))
        interface.check_choice("normalization", self.normalization, ("GroupNorm",))
        interface.check_grid(x, self.num_channels, 2 ** (len(self.ch_mult) - 1))
        embedding = Embedding(conditional=self.conditional)
        temb = embedding(time, None, nf=self.nf, act=self._act, dtype=self.dtype).temb
        h = (x if self.centered else 2 * x - 1).astype(self.dtype)
        skips = self._descend(h, temb, train)
        h = self._residual(skips[-1], temb, train)
        h = self._attention(h)
        h = self._residual(h, temb, train)
        h = self._ascend(h, skips, temb, train)
        h = self._act(GroupNorm(GROUPS)(h))
        h = conv(self.num_channels, rank=spatial_rank(x), init_scale=0.0, dtype=self.dtype)(h).astype(x.dtype)
        return interface.over_sigma(h, self.sigmas, time, is_sigma=False) if self.scale_by_sigma else h

    def _descend(self, x: Array, temb: Array | None, train: bool) -> list[Array]:
        """All feature maps on the way down, from the input convolution to the coarsest."""
        skips = [conv(self.nf, rank=spatial_rank(x), dtype=self.dtype)(x)]
        for level, multiple in enumerate(self.ch_mult):
            for _ in range(self.num_res_blocks):
                skips.append(self._attend(self._residual(skips[-1], temb, train, multiple * self.nf)))
            if level < len(self.ch_mult) - 1:
                skips.append(Downsample(with_conv=self.resamp_with_conv, dtype=self.dtype)(skips[-1]))
        return skips

    def _ascend(self, h: Array, skips: list[Array], temb: Array | None, train: bool) -> Array:
        """From the coarsest feature map to the finest; consumes `skips` from its end."""
        for level, multiple in reversed(list(enumerate(self.ch_mult))):
            for _ in range(self.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._residual(h, temb, train, multiple * self.nf)
            h = self._attend(h)
            if level > 0:
                h = Upsample(with_conv=self.resamp_with_conv, dtype=self.dtype)(h)
        return h

    @property
    def _act(self) -> Activation:
        return ACTIVATIONS[self.nonlinearity]

    def _residual(self, h: Array, temb: Array | None, train: bool, features: int | None = None) -> Array:
        kind = block(ResnetBlockDDPM, self.remat, static=(3,))
        return kind(self._act, features, dropout=self.dropout, limit=GROUPS, dtype=self.dtype)(h, temb, train)

    def _attention(self, h: Array) -> Array:
        return block(AttnBlock, self.remat)(limit=GROUPS, dtype=self.dtype)(h)

    def _attend(self, h: Array) -> Array:
        return self._attention(h) if h.shape[1] in self.attn_resolutions else h

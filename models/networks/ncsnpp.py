"""NCSN++ and DDPM++: the U-shaped networks of the score-SDE paper."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks import resample
from models.blocks.activations import ACTIVATIONS, Activation
from models.blocks.attention import AttnBlockpp, CrossAttention
from models.blocks.conditioning import Conditions, Embedding
from models.blocks.convolution import conv, spatial_rank
from models.blocks.normalization import GroupNorm
from models.blocks.remat import Remat, block
from models.blocks.resample import Downsample, Upsample
from models.blocks.residual import Combine, ResnetBlockBigGANpp, ResnetBlockDDPMpp

CHOICES: dict[str, tuple[Any, ...]] = {
    "resblock_type": ("biggan", "ddpm"),
    "progressive": ("none", "output_skip", "residual"),
    "progressive_input": ("none", "input_skip", "residual"),
    "progressive_combine": ("sum", "cat"),
    "nonlinearity": tuple(ACTIVATIONS),
    "normalization": ("GroupNorm",),
    "conv_size": (3,),
}


class NCSNpp(nn.Module):
    """Score or noise network with input and output pyramids; the published field names.

    x: [B, L, C], [B, H, W, C] or [B, D, H, W, C], which determines the rank of the network; C = `num_channels`,
        and sides are multiples of 2^(levels - 1), levels = len(ch_mult).
    time: [B]. With the Fourier embedding it is the noise level sigma, whose logarithm is embedded; with the positional
        one it is a time label, roughly 0 ... 1000.
    cond: None or a dict; see `conditioning.Embedding`, the field `embedding`.
    Returns an array with the shape and dtype of x; needs a `dropout` key if `train` and `dropout` > 0.

    Fields: `attn_resolutions` are heights (first sides) of feature maps with attention;
    `centered = False` lets the network map x from [0, 1] to [-1, 1] itself; `scale_by_sigma` divides the output by
    sigma, which is `time` for the Fourier embedding and `sigmas[int(time)]` for the positional one, where `sigmas` are
    the noise levels in descending order; `resamp_with_conv` matters only for `resblock_type = "ddpm"`; `dtype`
    is the dtype of convolutions; `remat` computes the activations of blocks again for the gradient.

    Source: Song et al. 2021, appendix H. Errors: ValueError for an unknown choice or an invalid shape.
    Notes: additions are class labels, conditioning on an augmentation and on further signals, series and volumes, and
    GroupNorm of any width (see models/blocks/normalization.py).
    """

    nf: int = 128
    ch_mult: Sequence[int] = (1, 2, 2, 2)
    num_res_blocks: int = 4
    attn_resolutions: Sequence[int] = (16,)
    dropout: float = 0.1
    resamp_with_conv: bool = True
    fir: bool = True
    fir_kernel: Sequence[float] = resample.TAPS
    skip_rescale: bool = True
    resblock_type: str = "biggan"
    progressive: str = "none"
    progressive_input: str = "residual"
    progressive_combine: str = "sum"
    embedding: Embedding = Embedding("fourier")
    init_scale: float = 0.0
    scale_by_sigma: bool = True
    nonlinearity: str = "swish"
    normalization: str = "GroupNorm"
    conv_size: int = 3
    num_channels: int = 3
    centered: bool = False
    sigmas: Sequence[float] | None = None
    dtype: Any = jnp.float32
    remat: Remat = False

    @nn.compact
    def __call__(self, x: Array, time: Array, cond: Mapping[str, Any] | None = None, *, train: bool = False) -> Array:
        for name, choices in CHOICES.items():
            interface.check_choice(name, getattr(self, name), choices)
        interface.check_grid(x, self.num_channels, 2 ** (len(self.ch_mult) - 1))
        c = self.embedding(time, cond, nf=self.nf, act=self._act, dtype=self.dtype)
        h = (x if self.centered else 2 * x - 1).astype(self.dtype)
        first = conv(self.nf, rank=spatial_rank(x), dtype=self.dtype)(h)
        skips = self._descend(h, self.embedding.concatenate(first, cond), c, train)
        h = self._residual(skips[-1], c, train)
        h = self._attention(h, c)
        h = self._residual(h, c, train)
        h = self._ascend(h, skips, c, train).astype(x.dtype)
        takes_sigma = self.embedding.takes_sigma
        return interface.over_sigma(h, self.sigmas, time, is_sigma=takes_sigma) if self.scale_by_sigma else h

    def _descend(self, x: Array, h: Array, c: Conditions, train: bool) -> list[Array]:
        """All feature maps on the way down, from the first, h, of the input x to the coarsest."""
        skips, pyramid = [h], x
        for level, multiple in enumerate(self.ch_mult):
            for _ in range(self.num_res_blocks):
                h = self._residual(skips[-1], c, train, features=multiple * self.nf)
                skips.append(self._attention(h, c) if h.shape[1] in self.attn_resolutions else h)
            if level == len(self.ch_mult) - 1:
                break
            if self.resblock_type == "biggan":
                h = self._residual(skips[-1], c, train, down=True)
            else:
                h = self._resample(Downsample, self.resamp_with_conv)(skips[-1])
            if self.progressive_input == "input_skip":
                pyramid = self._resample(Downsample, shared=True)(pyramid)
                h = Combine(self.progressive_combine, self.dtype)(pyramid, h)
            elif self.progressive_input == "residual":
                pyramid = self._resample(Downsample, True, h.shape[-1])(pyramid)
                h = pyramid = self._add(pyramid, h)
            skips.append(h)
        return skips

    def _ascend(self, h: Array, skips: list[Array], c: Conditions, train: bool) -> Array:
        """From the coarsest feature map to the output [B, ..., num_channels]; consumes `skips` from its end."""
        image = pyramid = None
        for level, multiple in reversed(list(enumerate(self.ch_mult))):
            for _ in range(self.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._residual(h, c, train, features=multiple * self.nf)
            if h.shape[1] in self.attn_resolutions:
                h = self._attention(h, c)
            if self.progressive == "output_skip" and image is None:
                image = self._to_image(h)
            elif self.progressive == "output_skip":
                image = self._resample(Upsample, shared=True)(image) + self._to_image(h)
            elif self.progressive == "residual" and pyramid is None:
                pyramid = self._act(GroupNorm()(h))
                pyramid = conv(h.shape[-1], rank=spatial_rank(h), dtype=self.dtype)(pyramid)
            elif self.progressive == "residual":
                h = pyramid = self._add(self._resample(Upsample, True, h.shape[-1])(pyramid), h)
            if level == 0:
                break
            if self.resblock_type == "biggan":
                h = self._residual(h, c, train, up=True)
            else:
                h = self._resample(Upsample, self.resamp_with_conv)(h)
        return self._to_image(h) if image is None else image

    @property
    def _act(self) -> Activation:
        return ACTIVATIONS[self.nonlinearity]

    def _add(self, a: Array, b: Array) -> Array:
        return (a + b) / math.sqrt(2) if self.skip_rescale else a + b

    def _to_image(self, h: Array) -> Array:
        h = self._act(GroupNorm()(h))
        rank = spatial_rank(h)
        return conv(self.num_channels, rank=rank, init_scale=self.init_scale, dtype=self.dtype)(h)

    def _attention(self, h: Array, c: Conditions) -> Array:
        h = block(AttnBlockpp, self.remat)(self.skip_rescale, self.init_scale, dtype=self.dtype)(h)
        return h if c.tokens is None else block(CrossAttention, self.remat)(dtype=self.dtype)(h, *c.tokens)

    def _resample(
        self, kind: type, with_conv: bool = False, features: int | None = None, *, shared: bool = False
    ) -> nn.Module:
        return kind(features, with_conv, self.fir, self.fir_kernel, self.dtype, shared)

    def _residual(self, h: Array, c: Conditions, train: bool, **options: Any) -> Array:
        """One residual block of the chosen kind; options: `features`, and `up` or `down` for BigGAN blocks."""
        options |= {"dropout": self.dropout, "skip_rescale": self.skip_rescale, "init_scale": self.init_scale}
        kind: type[nn.Module] = ResnetBlockDDPMpp
        if self.resblock_type == "biggan":
            kind, options = ResnetBlockBigGANpp, options | {"fir": self.fir, "taps": self.fir_kernel}
        residual = block(kind, self.remat, static=(3,))(self._act, dtype=self.dtype, **options)
        return residual(h, c.temb, train, c.modulation)

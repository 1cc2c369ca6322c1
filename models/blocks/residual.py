"""Residual blocks of DDPM, DDPM++ and NCSN++, and the block that adds an input pyramid to the features.

They take any number of spatial axes. Parameters carry the published names; `dtype` is what layers compute in.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models.blocks import resample
from models.blocks.activations import Activation
from models.blocks.conditioning import modulate
from models.blocks.convolution import NIN, conv, dense, over_space, spatial_rank
from models.blocks.dropout import Dropout
from models.blocks.normalization import GroupNorm


class ResnetBlockDDPM(nn.Module):
    """norm, act, conv, + Dense(act(temb)), norm, act, dropout, conv, plus a shortcut. Source: DDPM, 2020.

    temb, and modulation of the second norm: [B, D] or None. If the width changes, the shortcut is a dense layer per
    pixel, or a 3x3 convolution.
    """

    act: Activation
    features: int | None = None
    conv_shortcut: bool = False
    dropout: float = 0.1
    skip_rescale: bool = False
    init_scale: float = 0.0
    limit: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, temb: Array | None = None, train: bool = False, modulation: Array | None = None
    ) -> Array:
        features = self.features or x.shape[-1]
        h = self.act(GroupNorm(self.limit)(x))
        h = conv(features, rank=spatial_rank(x), dtype=self.dtype)(h)
        if temb is not None:
            h = h + over_space(dense(features, dtype=self.dtype)(self.act(temb)), h)
        h = self.act(modulate(GroupNorm(self.limit)(h), modulation, self.act, self.dtype))
        h = Dropout(self.dropout)(h, train)
        h = conv(features, rank=spatial_rank(x), init_scale=self.init_scale, dtype=self.dtype)(h)
        if x.shape[-1] != features and self.conv_shortcut:
            x = conv(features, rank=spatial_rank(x), dtype=self.dtype)(x)
        elif x.shape[-1] != features:
            x = NIN(features, dtype=self.dtype)(x)
        return (x + h) / math.sqrt(2) if self.skip_rescale else x + h


class ResnetBlockDDPMpp(ResnetBlockDDPM):
    """The same block under its name in NCSN++."""


class ResnetBlockBigGANpp(nn.Module):
    """norm, act, resample, conv, + Dense(act(temb)), norm, act, dropout, conv, plus a resampled shortcut.

    temb, and modulation of the second norm: [B, D] or None. The shortcut has a 1x1 convolution if the width or the
    resolution changes.
    Source: Brock et al., BigGAN, 2019; Song et al. 2021, appendix H.1.
    """

    act: Activation
    features: int | None = None
    up: bool = False
    down: bool = False
    dropout: float = 0.1
    fir: bool = False
    taps: Sequence[float] = resample.TAPS
    skip_rescale: bool = True
    init_scale: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, temb: Array | None = None, train: bool = False, modulation: Array | None = None
    ) -> Array:
        features = self.features or x.shape[-1]
        h = self.act(GroupNorm()(x))
        if self.up:
            x, h = (resample.upsample(a, self.taps) if self.fir else resample.nearest_upsample(a) for a in (x, h))
        elif self.down:
            x, h = (resample.downsample(a, self.taps) if self.fir else resample.mean_downsample(a) for a in (x, h))
        h = conv(features, rank=spatial_rank(x), dtype=self.dtype)(h)
        if temb is not None:
            h = h + over_space(dense(features, dtype=self.dtype)(self.act(temb)), h)
        h = self.act(modulate(GroupNorm()(h), modulation, self.act, self.dtype))
        h = Dropout(self.dropout)(h, train)
        h = conv(features, rank=spatial_rank(x), init_scale=self.init_scale, dtype=self.dtype)(h)
        if x.shape[-1] != features or self.up or self.down:
            x = conv(features, 1, rank=spatial_rank(x), dtype=self.dtype)(x)
        return (x + h) / math.sqrt(2) if self.skip_rescale else x + h


class Combine(nn.Module):
    """Combines an image pyramid `x` with the features `y`: a 1x1 convolution of x, concatenated with or added to y."""

    method: str = "cat"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, y: Array) -> Array:
        h = conv(y.shape[-1], 1, rank=spatial_rank(x), dtype=self.dtype)(x)
        return h + y if self.method == "sum" else jnp.concatenate([h, y], axis=-1)

"""Building blocks of the U-shaped networks (DDPM, DDPM++, NCSN++); images are [B, H, W, C].

Parameters carry the published names. `dtype` is what convolutions and dense layers compute in; parameters and
normalisation are float32.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models import resample

Array = jax.Array
Activation = Callable[[Array], Array]


def initializer(scale: float = 1.0) -> Callable[..., Array]:
    """Uniform with variance `scale / mean(fan_in, fan_out)`; scale 0 stands for 1e-10, so that gradients flow."""
    return nn.initializers.variance_scaling(scale or 1e-10, "fan_avg", "uniform")


def _pointwise(x: Array, kernel: Array, *args: object, **kwargs: object) -> Array:
    """A 1x1 convolution as a matrix product: half the time on a CPU."""
    return jnp.tensordot(x, kernel[0, 0], 1)


def conv(features: int, size: int = 3, *, init_scale: float = 1.0, dtype: Any = jnp.float32) -> nn.Conv:
    """A convolution with stride 1, padding with zeros and a bias that starts at zero."""
    return nn.Conv(
        features,
        (size, size),
        kernel_init=initializer(init_scale),
        dtype=dtype,
        conv_general_dilated=_pointwise if size == 1 else None,
    )


def dense(features: int, *, dtype: Any = jnp.float32) -> nn.Dense:
    """A dense layer with the published initialisation."""
    return nn.Dense(features, kernel_init=initializer(), dtype=dtype)


def num_groups(channels: int, limit: int) -> int:
    """The largest divisor of `channels` that is not above `limit`; at least 1."""
    return max(n for n in range(1, max(1, min(limit, channels)) + 1) if channels % n == 0)


class GroupNorm(nn.Module):
    """Zero mean and unit variance over the pixels and channels of each group, then scale and bias per channel.

    The number of groups is the largest divisor of C not above `limit`, by default min(C // 4, 32).
    Source: Wu and He, "Group Normalization", 2018.

    Notes: the published networks use min(C // 4, 32) itself, which fails where it does not divide C (C = 144), and
    DDPM 32; where that works, this is the same. Statistics are taken per channel first, over contiguous memory.
    """

    limit: int | None = None
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Array) -> Array:
        B, C = x.shape[0], x.shape[-1]
        groups = num_groups(C, min(C // 4, 32) if self.limit is None else self.limit)
        scale = self.param("scale", nn.initializers.ones, (C,))
        bias = self.param("bias", nn.initializers.zeros, (C,))

        def group_mean(values: Array) -> Array:
            of_channels = values.mean((1, 2)).reshape(B, groups, C // groups)
            return jnp.repeat(of_channels.mean(-1), C // groups, axis=1)[:, None, None, :]

        x32 = x.astype(jnp.float32)
        centred = x32 - group_mean(x32)
        factor = jax.lax.rsqrt(group_mean(centred**2) + self.epsilon) * scale[None, None, None, :]
        return (centred * factor + bias[None, None, None, :]).astype(x.dtype)


class NIN(nn.Module):
    """The same dense layer at every pixel, `x W + b` ("network in network")."""

    features: int
    init_scale: float = 0.1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        W = self.param("W", initializer(self.init_scale), (x.shape[-1], self.features))
        b = self.param("b", nn.initializers.zeros, (self.features,))
        x, W, b = nn.dtypes.promote_dtype(x, W, b, dtype=self.dtype)
        return jnp.tensordot(x, W, 1) + b[None, None, None, :]


class AttnBlockpp(nn.Module):
    """x + NIN(softmax(q k^T / sqrt(C)) v), over all positions of an image, one head; divided by sqrt 2 on request.

    Source: Ho et al., DDPM, 2020, appendix B. `limit`: see GroupNorm.
    """

    skip_rescale: bool = False
    init_scale: float = 0.0
    limit: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        B, H, W, C = x.shape
        h = GroupNorm(self.limit)(x)
        q, k, v = (NIN(C, dtype=self.dtype)(h).reshape(B, H * W, 1, C) for _ in range(3))
        h = jax.nn.dot_product_attention(q, k, v).reshape(B, H, W, C)
        h = NIN(C, self.init_scale, self.dtype)(h)
        return (x + h) / math.sqrt(2) if self.skip_rescale else x + h


class AttnBlock(AttnBlockpp):
    """The same block under the name that it has in DDPM."""


class Conv2d(nn.Module):
    """A 3x3 convolution with a FIR filter that changes the resolution; `operation`: one of `resample`."""

    features: int
    operation: Callable[[Array, Array, Sequence[float]], Array]
    taps: Sequence[float] = resample.TAPS
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        weight = self.param("weight", initializer(), (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, weight, bias = nn.dtypes.promote_dtype(x, weight, bias, dtype=self.dtype)
        return self.operation(x, weight, self.taps) + bias[None, None, None, :]


class Upsample(nn.Module):
    """Twice the resolution: by a FIR filter or by nearest neighbours, with or without a 3x3 convolution.

    features: width of the convolution; None keeps the number of channels.
    """

    features: int | None = None
    with_conv: bool = False
    fir: bool = False
    taps: Sequence[float] = resample.TAPS
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        features = self.features or x.shape[-1]
        if self.fir:
            if self.with_conv:
                return Conv2d(features, resample.upsample_conv, self.taps, self.dtype)(x)
            return resample.upsample(x, self.taps)
        h = resample.nearest_upsample(x)
        return conv(features, dtype=self.dtype)(h) if self.with_conv else h


class Downsample(nn.Module):
    """Half the resolution: by a FIR filter, by means of 2 x 2 pixels, or by a 3x3 convolution of stride 2.

    features: width of the convolution; None keeps the number of channels.
    """

    features: int | None = None
    with_conv: bool = False
    fir: bool = False
    taps: Sequence[float] = resample.TAPS
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        features = self.features or x.shape[-1]
        if self.fir:
            if self.with_conv:
                return Conv2d(features, resample.conv_downsample, self.taps, self.dtype)(x)
            return resample.downsample(x, self.taps)
        if self.with_conv:  # zeros at the bottom and at the right only
            pads = [(0, 1), (0, 1)]
            return nn.Conv(features, (3, 3), 2, pads, kernel_init=initializer(), dtype=self.dtype)(x)
        return resample.mean_downsample(x)


class Combine(nn.Module):
    """Brings an image pyramid `x` into the features `y`: 1x1 convolution of x, then concatenated or added."""

    method: str = "cat"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, y: Array) -> Array:
        h = conv(y.shape[-1], 1, dtype=self.dtype)(x)
        return h + y if self.method == "sum" else jnp.concatenate([h, y], axis=-1)


class ResnetBlockDDPM(nn.Module):
    """norm, act, conv, + Dense(act(temb)), norm, act, dropout, conv, plus a shortcut. Source: DDPM, 2020.

    temb: [B, D] or None. A change of width makes the shortcut a dense layer per pixel, or a 3x3 convolution.
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
    def __call__(self, x: Array, temb: Array | None = None, train: bool = False) -> Array:
        features = self.features or x.shape[-1]
        h = self.act(GroupNorm(self.limit)(x))
        h = conv(features, dtype=self.dtype)(h)
        if temb is not None:
            h = h + dense(features, dtype=self.dtype)(self.act(temb))[:, None, None, :]
        h = self.act(GroupNorm(self.limit)(h))
        h = nn.Dropout(self.dropout)(h, deterministic=not train)
        h = conv(features, init_scale=self.init_scale, dtype=self.dtype)(h)
        if x.shape[-1] != features and self.conv_shortcut:
            x = conv(features, dtype=self.dtype)(x)
        elif x.shape[-1] != features:
            x = NIN(features, dtype=self.dtype)(x)
        return (x + h) / math.sqrt(2) if self.skip_rescale else x + h


class ResnetBlockDDPMpp(ResnetBlockDDPM):
    """The same block under the name that it has in NCSN++."""


class ResnetBlockBigGANpp(nn.Module):
    """norm, act, resample, conv, + Dense(act(temb)), norm, act, dropout, conv, plus a resampled shortcut.

    temb: [B, D] or None. The shortcut has a 1x1 convolution if the width or the resolution changes.
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
    def __call__(self, x: Array, temb: Array | None = None, train: bool = False) -> Array:
        features = self.features or x.shape[-1]
        h = self.act(GroupNorm()(x))
        if self.up:
            x, h = (resample.upsample(a, self.taps) if self.fir else resample.nearest_upsample(a) for a in (x, h))
        elif self.down:
            x, h = (resample.downsample(a, self.taps) if self.fir else resample.mean_downsample(a) for a in (x, h))
        h = conv(features, dtype=self.dtype)(h)
        if temb is not None:
            h = h + dense(features, dtype=self.dtype)(self.act(temb))[:, None, None, :]
        h = self.act(GroupNorm()(h))
        h = nn.Dropout(self.dropout)(h, deterministic=not train)
        h = conv(features, init_scale=self.init_scale, dtype=self.dtype)(h)
        if x.shape[-1] != features or self.up or self.down:
            x = conv(features, 1, dtype=self.dtype)(x)
        return (x + h) / math.sqrt(2) if self.skip_rescale else x + h


ACTIVATIONS: dict[str, Activation] = {
    "elu": nn.elu,
    "relu": nn.relu,
    "lrelu": lambda x: nn.leaky_relu(x, 0.2),
    "swish": nn.swish,
}

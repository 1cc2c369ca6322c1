"""Building blocks of the U-shaped networks (DDPM, DDPM++, NCSN++) for data [B, ..., C] with 0 to 3 axes of space.

Shapes are written for images, [B, H, W, C]; series [B, L, C] and volumes [B, D, H, W, C] pass through the same blocks,
whose rank is that of their input, and vectors [B, C] through those without a convolution.

Parameters carry the published names. `dtype` is what convolutions and dense layers compute in; parameters and
normalisation are float32.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.arrays import Array
from models.blocks import resample

Activation = Callable[[Array], Array]


def initializer(scale: float = 1.0) -> Callable[..., Array]:
    """Uniform with variance `scale / mean(fan_in, fan_out)`; scale 0 stands for 1e-10, so that gradients flow."""
    return nn.initializers.variance_scaling(scale or 1e-10, "fan_avg", "uniform")


def product(x: Array, W: Array) -> Array:
    """x W at every pixel, [B, ..., C] and [C, D] to [B, ..., D].

    Written as a product of two matrices: with the axes of space left in, XLA's CPU backend transposes the gradient of
    the output to get that of W, which then takes more than twice the time.
    """
    return (x.reshape(-1, x.shape[-1]) @ W).reshape(*x.shape[:-1], W.shape[-1])


def _pointwise(x: Array, kernel: Array, *args: object, **kwargs: object) -> Array:
    """A 1x1 convolution as a matrix product: half the time on a CPU."""
    return product(x, kernel.reshape(kernel.shape[-2:]))


def _by_planes(x: Array, kernel: Array, *args: object, **kwargs: object) -> Array:
    """A 3x3x3 convolution of volumes as one of planes [B D, H, W, 3 C], each with its neighbours.

    On a CPU 6 times as fast: there XLA has a fast convolution of images, but none of volumes.
    """
    B, D, H, W, C = x.shape
    size = kernel.shape[0]
    padded = jnp.pad(x, ((0, 0), (size // 2, size // 2), (0, 0), (0, 0), (0, 0)))
    planes = jnp.concatenate([padded[:, i : i + D] for i in range(size)], axis=-1).reshape(B * D, H, W, size * C)
    flat = jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], size * C, -1)
    dimensions = resample.CONV_DIMENSIONS[2]
    y = jax.lax.conv_general_dilated(planes, flat, (1, 1), "SAME", dimension_numbers=dimensions)
    return y.reshape(B, D, H, W, -1)


def conv(features: int, size: int = 3, *, rank: int = 2, init_scale: float = 1.0, dtype: Any = jnp.float32) -> nn.Conv:
    """A convolution over `rank` axes, of stride 1, padded with zeros, with a bias that starts at zero."""
    return nn.Conv(
        features,
        (size,) * rank,
        kernel_init=initializer(init_scale),
        dtype=dtype,
        conv_general_dilated=_fastest(size, rank),
    )


def _fastest(size: int, rank: int) -> Callable[..., Array] | None:
    """What computes a convolution; None: XLA's own."""
    if size == 1:
        return _pointwise
    return _by_planes if rank == 3 and jax.default_backend() == "cpu" else None


def dense(features: int, *, init_scale: float = 1.0, dtype: Any = jnp.float32) -> nn.Dense:
    """A dense layer with the published initialisation."""
    return nn.Dense(features, kernel_init=initializer(init_scale), dtype=dtype)


def over_space(values: Array, x: Array) -> Array:
    """`values` [B or 1, C] as [B or 1, 1, ..., 1, C], to be combined with `x` [B, ..., C]."""
    return values.reshape(values.shape[0], *(1,) * (x.ndim - 2), values.shape[-1])


def rank_of(x: Array) -> int:
    """How many axes of space `x` [B, ..., C] has."""
    return x.ndim - 2


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
            of_channels = values.mean(resample.axes_of_space(x)).reshape(B, groups, C // groups)
            return over_space(jnp.repeat(of_channels.mean(-1), C // groups, axis=1), x)

        x32 = x.astype(jnp.float32)
        centred = x32 - group_mean(x32)
        factor = jax.lax.rsqrt(group_mean(centred**2) + self.epsilon) * over_space(scale[None], x)
        return (centred * factor + over_space(bias[None], x)).astype(x.dtype)


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
        return product(x, W) + over_space(b[None], x)


class AttnBlockpp(nn.Module):
    """x + NIN(softmax(q k^T / sqrt(C)) v), over all positions in space, one head; divided by sqrt 2 on request.

    Source: Ho et al., DDPM, 2020, appendix B. `limit`: see GroupNorm.
    """

    skip_rescale: bool = False
    init_scale: float = 0.0
    limit: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        B, *sides, C = x.shape
        h = GroupNorm(self.limit)(x)
        q, k, v = (NIN(C, dtype=self.dtype)(h).reshape(B, math.prod(sides), 1, C) for _ in range(3))
        h = jax.nn.dot_product_attention(q, k, v).reshape(x.shape)
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
        weight = self.param("weight", initializer(), (*(3,) * rank_of(x), x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, weight, bias = nn.dtypes.promote_dtype(x, weight, bias, dtype=self.dtype)
        return self.operation(x, weight, self.taps) + over_space(bias[None], x)


class Upsample(nn.Module):
    """Twice the resolution: by a FIR filter or by nearest neighbours, with or without a 3x3 convolution.

    features: width of the convolution; None keeps the number of channels.
    shared: this is the resampler of a skip pyramid, which has no parameters and which the published PyTorch networks
        share between levels; nothing here depends on it, but an import of their files does.
    """

    features: int | None = None
    with_conv: bool = False
    fir: bool = False
    taps: Sequence[float] = resample.TAPS
    dtype: Any = jnp.float32
    shared: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        features = self.features or x.shape[-1]
        if self.fir:
            if self.with_conv:
                return Conv2d(features, resample.upsample_conv, self.taps, self.dtype)(x)
            return resample.upsample(x, self.taps)
        h = resample.nearest_upsample(x)
        return conv(features, rank=rank_of(x), dtype=self.dtype)(h) if self.with_conv else h


class Downsample(nn.Module):
    """Half the resolution: by a FIR filter, by means of 2 x 2 pixels, or by a 3x3 convolution of stride 2.

    features: width of the convolution; None keeps the number of channels.
    shared: this is the resampler of a skip pyramid, which has no parameters and which the published PyTorch networks
        share between levels; nothing here depends on it, but an import of their files does.
    """

    features: int | None = None
    with_conv: bool = False
    fir: bool = False
    taps: Sequence[float] = resample.TAPS
    dtype: Any = jnp.float32
    shared: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        features = self.features or x.shape[-1]
        if self.fir:
            if self.with_conv:
                return Conv2d(features, resample.conv_downsample, self.taps, self.dtype)(x)
            return resample.downsample(x, self.taps)
        if self.with_conv:  # zeros at the bottom and at the right only
            size, pads = (3,) * rank_of(x), [(0, 1)] * rank_of(x)
            return nn.Conv(features, size, 2, pads, kernel_init=initializer(), dtype=self.dtype)(x)
        return resample.mean_downsample(x)


class Combine(nn.Module):
    """Brings an image pyramid `x` into the features `y`: 1x1 convolution of x, then concatenated or added."""

    method: str = "cat"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, y: Array) -> Array:
        h = conv(y.shape[-1], 1, rank=rank_of(x), dtype=self.dtype)(x)
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
        h = conv(features, rank=rank_of(x), dtype=self.dtype)(h)
        if temb is not None:
            h = h + over_space(dense(features, dtype=self.dtype)(self.act(temb)), h)
        h = self.act(GroupNorm(self.limit)(h))
        h = nn.Dropout(self.dropout)(h, deterministic=not train)
        h = conv(features, rank=rank_of(x), init_scale=self.init_scale, dtype=self.dtype)(h)
        if x.shape[-1] != features and self.conv_shortcut:
            x = conv(features, rank=rank_of(x), dtype=self.dtype)(x)
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
        h = conv(features, rank=rank_of(x), dtype=self.dtype)(h)
        if temb is not None:
            h = h + over_space(dense(features, dtype=self.dtype)(self.act(temb)), h)
        h = self.act(GroupNorm()(h))
        h = nn.Dropout(self.dropout)(h, deterministic=not train)
        h = conv(features, rank=rank_of(x), init_scale=self.init_scale, dtype=self.dtype)(h)
        if x.shape[-1] != features or self.up or self.down:
            x = conv(features, 1, rank=rank_of(x), dtype=self.dtype)(x)
        return (x + h) / math.sqrt(2) if self.skip_rescale else x + h


ACTIVATIONS: dict[str, Activation] = {
    "elu": nn.elu,
    "relu": nn.relu,
    "lrelu": lambda x: nn.leaky_relu(x, 0.2),
    "swish": nn.swish,
}

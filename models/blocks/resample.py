"""Resampling by a factor of two along each axis, with or without a finite impulse response (FIR) filter.

Data are [B, ..., C] with one, two or three spatial axes of any size (series, images, volumes); shapes are written for
images. A filter is a tuple of 1-D taps k_0 ... k_{n-1}, normalized here to sum 1; in space it is their outer product
and is applied as a true convolution, one axis after the other, as a sum of shifted slices. (As a depthwise convolution,
the same filter is twenty times slower on a CPU.) The data are padded with zeros.

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020; Zhang, "Making Convolutional
Networks Shift-Invariant Again", 2019. The alignment is that of the published score-SDE networks.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.arrays import Array
from models.blocks.convolution import CONV_DIMENSIONS, conv, initializer, over_space, spatial_axes, spatial_rank

Taps = Sequence[float]

TAPS = (1.0, 3.0, 3.0, 1.0)


def _flipped(taps: Taps) -> list[float]:
    """Normalized taps, reversed: correlation with them is convolution with the taps."""
    if len(taps) < 2:
        raise ValueError(f"A resampling filter needs at least two taps, got {tuple(taps)}.")
    return [float(tap) / float(sum(taps)) for tap in reversed(taps)]


def _pad(x: Array, axis: int, before: int, after: int) -> Array:
    """Zeros before and after along one axis; negative numbers crop."""
    widths = [(0, 0, 0)] * x.ndim
    widths[axis] = (before, after, 0)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), widths)


def _weighted_sum(x: Array, axis: int, terms: Sequence[tuple[int, float]], size: int, stride: int = 1) -> Array:
    """y[i] = sum over (offset, weight) of weight x[offset + stride i] along one axis, i = 0 ... size - 1."""
    span = stride * (size - 1) + 1
    return functools.reduce(
        jnp.add,
        [weight * jax.lax.slice_in_dim(x, offset, offset + span, stride, axis) for offset, weight in terms],
    )


def _filter(x: Array, taps: Taps, axis: int, before: int, after: int, stride: int = 1) -> Array:
    """y[i] = sum_j flipped_j padded[stride i + j]: only the values that are kept are computed."""
    padded = _pad(x, axis, before, after)
    size = (padded.shape[axis] - len(taps)) // stride + 1
    return _weighted_sum(padded, axis, list(enumerate(_flipped(taps))), size, stride)


def _upsample(x: Array, taps: Taps, axis: int, before: int) -> Array:
    """y[m] = 2 sum_j flipped_j z[m + j - before], with z[2 i] = x[i] and zeros between.

    y[2 i + r] uses only the taps with j = before - r (mod 2), which multiply x[i + (r + j - before) / 2]: the zeros are
    never multiplied, and each parity r is a short filter on x itself.
    """
    size = x.shape[axis]
    taps_of_parity = [
        [((r + j - before) // 2, 2 * weight) for j, weight in enumerate(_flipped(taps)) if (r + j - before) % 2 == 0]
        for r in (0, 1)
    ]
    shifts = [shift for terms in taps_of_parity for shift, _ in terms]
    first, last = min(0, *shifts), max(0, *shifts)
    padded = _pad(x, axis, -first, last)
    parities = [
        _weighted_sum(padded, axis, [(shift - first, weight) for shift, weight in terms], size)
        for terms in taps_of_parity
    ]
    return jnp.stack(parities, axis + 1).reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def _filter_space(x: Array, taps: Taps, pads: tuple[int, int], stride: int = 1) -> Array:
    """`_filter` along every spatial axis, with the same padding before and after."""
    return functools.reduce(lambda y, axis: _filter(y, taps, axis, *pads, stride), spatial_axes(x), x)


def upsample(x: Array, taps: Taps = TAPS) -> Array:
    """[B, H, W, C] -> [B, 2H, 2W, C]: a zero after every value, then the filter with gain 2 per axis."""
    before = (len(taps) - 1) // 2 + 1
    return functools.reduce(lambda y, axis: _upsample(y, taps, axis, before), reversed(spatial_axes(x)), x)


def downsample(x: Array, taps: Taps = TAPS) -> Array:
    """[B, H, W, C] -> [B, H/2, W/2, C]: the filter, then every second value.

    For an even number of taps this is the transpose of `upsample` with the taps reversed, divided by 2 per axis.
    """
    return _filter_space(x, taps, ((len(taps) - 1) // 2, (len(taps) - 2) // 2), stride=2)


def upsample_conv(x: Array, kernel: Array, taps: Taps = TAPS) -> Array:
    """[B, H, W, C] -> [B, 2H, 2W, D]: zeros between the values, full correlation with `kernel`, filter with gain.

    kernel: [3, 3, C, D]. The smoothing comes after the learned convolution, as in StyleGAN2.
    """
    size, rank = kernel.shape[0], x.ndim - 2
    full = [(size - 1, size - 1)] * rank
    dimensions = CONV_DIMENSIONS[rank]
    y = jax.lax.conv_general_dilated(x, kernel, (1,) * rank, full, (2,) * rank, dimension_numbers=dimensions)
    excess = len(taps) - 2 - (size - 1)
    return 2**rank * _filter_space(y, taps, ((excess + 1) // 2 + 1, excess // 2 + 1))


def conv_downsample(x: Array, kernel: Array, taps: Taps = TAPS) -> Array:
    """[B, H, W, C] -> [B, H/2, W/2, D]: the filter, then a strided correlation with `kernel` [3, 3, C, D]."""
    excess, rank = len(taps) - 2 + (kernel.shape[0] - 1), x.ndim - 2
    y = _filter_space(x, taps, ((excess + 1) // 2, excess // 2))
    return jax.lax.conv_general_dilated(y, kernel, (2,) * rank, "VALID", dimension_numbers=CONV_DIMENSIONS[rank])


def nearest_upsample(x: Array) -> Array:
    """[B, H, W, C] -> [B, 2H, 2W, C]: each value twice along every spatial axis."""
    B, *sides, C = x.shape
    apart = x.reshape(B, *(n for side in sides for n in (side, 1)), C)
    repeated = jnp.broadcast_to(apart, (B, *(n for side in sides for n in (side, 2)), C))
    return repeated.reshape(B, *(2 * side for side in sides), C)


def mean_downsample(x: Array) -> Array:
    """[B, H, W, C] -> [B, H/2, W/2, C]: means of blocks of two values along every spatial axis; even sides."""
    B, *sides, C = x.shape
    blocks = x.reshape(B, *(n for side in sides for n in (side // 2, 2)), C)
    return blocks.mean(tuple(2 * axis for axis in spatial_axes(x)))


class Conv2d(nn.Module):
    """A 3x3 convolution with a FIR filter that changes the resolution, by `upsample_conv` or `conv_downsample`."""

    features: int
    operation: Callable[[Array, Array, Sequence[float]], Array]
    taps: Sequence[float] = TAPS
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        weight = self.param("weight", initializer(), (*(3,) * spatial_rank(x), x.shape[-1], self.features))
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
    taps: Sequence[float] = TAPS
    dtype: Any = jnp.float32
    shared: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        features = self.features or x.shape[-1]
        if self.fir:
            if self.with_conv:
                return Conv2d(features, upsample_conv, self.taps, self.dtype)(x)
            return upsample(x, self.taps)
        h = nearest_upsample(x)
        return conv(features, rank=spatial_rank(x), dtype=self.dtype)(h) if self.with_conv else h


class Downsample(nn.Module):
    """Half the resolution: by a FIR filter, by means of 2 x 2 pixels, or by a 3x3 convolution of stride 2.

    features: width of the convolution; None keeps the number of channels.
    shared: this is the resampler of a skip pyramid, which has no parameters and which the published PyTorch networks
        share between levels; nothing here depends on it, but an import of their files does.
    """

    features: int | None = None
    with_conv: bool = False
    fir: bool = False
    taps: Sequence[float] = TAPS
    dtype: Any = jnp.float32
    shared: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        features = self.features or x.shape[-1]
        if self.fir:
            if self.with_conv:
                return Conv2d(features, conv_downsample, self.taps, self.dtype)(x)
            return downsample(x, self.taps)
        if self.with_conv:  # zeros only at the bottom and at the right
            size, pads = (3,) * spatial_rank(x), [(0, 1)] * spatial_rank(x)
            return nn.Conv(features, size, 2, pads, kernel_init=initializer(), dtype=self.dtype)(x)
        return mean_downsample(x)

"""Layers of the RefineNets (NCSN, NCSNv2): instance normalization, residual blocks, refine blocks.

Images are [B, H, W, C]. Every block takes `num_classes`: 0 for plain normalization, or the number of classes if the
normalization is conditioned on `labels`, int [B]; names of blocks of the second kind start with "Cond".
Parameters carry the published names. Source: Song and Ermon, "Generative Modeling by Estimating Gradients of the Data
Distribution", 2019, appendix A; "Improved Techniques for Training Score-Based Generative Models", 2020, appendix B.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.arrays import Array
from models.blocks.activations import Activation
from models.blocks.resample import mean_downsample

EPSILON = 1e-5


def _around_one(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """N(1, 0.02^2)."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


def conv(
    x: Array, features: int, size: int = 3, *, dilation: int = 1, use_bias: bool = True, dtype: Any = jnp.float32
) -> Array:
    """A convolution whose kernel and bias are initialized uniformly in +-1 / sqrt(fan_in)."""
    limit = 1 / math.sqrt(size * size * x.shape[-1])

    def uniform(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    layer = nn.Conv(
        features,
        (size, size),
        kernel_dilation=dilation,
        use_bias=use_bias,
        kernel_init=uniform,
        bias_init=uniform,
        dtype=dtype,
    )
    return layer(x)


def _standardized(x: Array) -> tuple[Array, Array]:
    """Each channel of each image with mean 0 and variance 1, in float32; and the means [B, 1, 1, C]."""
    x = x.astype(jnp.float32)
    mean = x.mean((1, 2), keepdims=True)
    return (x - mean) * jax.lax.rsqrt(jnp.square(x - mean).mean((1, 2), keepdims=True) + EPSILON), mean


def _instance_norm_plus(x: Array, alpha: Array, gamma: Array, beta: Array) -> Array:
    """gamma (standardized x + alpha standardized means) + beta; the means are standardized across channels."""
    h, mean = _standardized(x)
    spread = mean - mean.mean(-1, keepdims=True)
    shift = spread * jax.lax.rsqrt(jnp.square(spread).mean(-1, keepdims=True) + EPSILON)
    return (gamma * (h + alpha * shift) + beta).astype(x.dtype)


class InstanceNorm2d(nn.Module):
    """scale (x - mean) / std + bias, with the mean and the standard deviation of each channel of each image."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        h, _ = _standardized(x)
        return (h * scale[None, None, None, :] + bias[None, None, None, :]).astype(x.dtype)


class VarianceNorm2d(nn.Module):
    """scale x / std: the mean of a channel is not subtracted; it only enters the standard deviation."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", _around_one, x.shape[-1:])
        variance = x.astype(jnp.float32).var((1, 2), keepdims=True)
        return (x * jax.lax.rsqrt(variance + EPSILON) * scale[None, None, None, :]).astype(x.dtype)


class InstanceNorm2dPlus(nn.Module):
    """Instance normalization that adds back the relative means of the channels ("InstanceNorm++")."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        alpha = self.param("alpha", _around_one, x.shape[-1:])
        gamma = self.param("gamma", _around_one, x.shape[-1:])
        beta = self.param("beta", nn.initializers.zeros, x.shape[-1:])
        return _instance_norm_plus(x, *(p[None, None, None, :] for p in (alpha, gamma, beta)))


class ConditionalInstanceNorm2dPlus(nn.Module):
    """InstanceNorm++ with a scale, alpha and bias per class: rows [gamma | alpha | beta] of one table."""

    num_classes: int

    @nn.compact
    def __call__(self, x: Array, labels: Array) -> Array:
        C = x.shape[-1]

        def table(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
            return _around_one(key, shape, dtype).at[:, 2 * C :].set(0.0)

        row = nn.Embed(self.num_classes, 3 * C, embedding_init=table)(labels.astype(jnp.int32))
        gamma, alpha, beta = jnp.split(row[:, None, None, :], 3, axis=-1)
        return _instance_norm_plus(x, alpha, gamma, beta)


def norm(x: Array, num_classes: int, labels: Array | None) -> Array:
    """InstanceNorm++, conditioned on `labels` if there are classes."""
    if num_classes == 0:
        return InstanceNorm2dPlus()(x)
    if labels is None:
        raise ValueError(f"Normalization with {num_classes} classes needs labels.")
    return ConditionalInstanceNorm2dPlus(num_classes)(x, labels)


class ConvMeanPool(nn.Module):
    """A convolution, then the mean of 2x2 blocks of pixels."""

    features: int
    size: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return mean_downsample(conv(x, self.features, self.size, dtype=self.dtype))


class MeanPoolConv(nn.Module):
    """The mean of 2x2 blocks of pixels, then a convolution."""

    features: int
    size: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return conv(mean_downsample(x), self.features, self.size, dtype=self.dtype)


class ResidualBlock(nn.Module):
    """norm, act, conv, norm, act, conv, plus a shortcut.

    With `down` the second convolution and the shortcut halve the resolution by means; if `dilation` > 1 they keep it
    and all convolutions are dilated instead, which enlarges the receptive field as much.
    """

    act: Activation
    features: int
    down: bool = False
    dilation: int = 1
    num_classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, labels: Array | None = None) -> Array:
        shared: dict[str, Any] = {"dilation": self.dilation, "dtype": self.dtype}
        h = self.act(norm(x, self.num_classes, labels))
        h = conv(h, x.shape[-1] if self.down else self.features, **shared)
        h = self.act(norm(h, self.num_classes, labels))
        if self.down and self.dilation == 1:
            h = ConvMeanPool(self.features, dtype=self.dtype)(h)
            return ConvMeanPool(self.features, 1, self.dtype)(x) + h
        h = conv(h, self.features, **shared)
        if self.down or x.shape[-1] != self.features:
            x = conv(x, self.features, 1 if self.dilation == 1 else 3, **shared)
        return x + h


class ConditionalResidualBlock(ResidualBlock):
    """ResidualBlock under its name with classes."""


class RCUBlock(nn.Module):
    """Residual convolution units: `num_blocks` times x + (norm if there are classes, act, conv) `num_stages` times."""

    act: Activation
    num_blocks: int = 2
    num_stages: int = 2
    num_classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, labels: Array | None = None) -> Array:
        for _ in range(self.num_blocks):
            h = x
            for _ in range(self.num_stages):
                h = self.act(norm(h, self.num_classes, labels) if self.num_classes else h)
                h = conv(h, h.shape[-1], use_bias=False, dtype=self.dtype)
            x = x + h
        return x


class CondRCUBlock(RCUBlock):
    """RCUBlock under its name with classes."""


class CRPBlock(nn.Module):
    """Chained residual pooling: x = act(x), then `num_stages` times path = conv(pool(path)), x = x + path.

    The pooling is over 5x5 pixels: the maximum, or with classes the mean of the normalized values (zeros outside the
    image count).
    """

    act: Activation
    num_stages: int = 2
    num_classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, labels: Array | None = None) -> Array:
        path = x = self.act(x)
        for _ in range(self.num_stages):
            if self.num_classes:
                path = nn.avg_pool(norm(path, self.num_classes, labels), (5, 5), padding="SAME")
            else:
                path = nn.max_pool(path, (5, 5), padding="SAME")
            path = conv(path, x.shape[-1], use_bias=False, dtype=self.dtype)
            x = x + path
        return x


class CondCRPBlock(CRPBlock):
    """CRPBlock under its name with classes."""


class MSFBlock(nn.Module):
    """Multi-scale fusion: the sum of all inputs after a convolution, resized to the resolution of the first."""

    features: int
    num_classes: int = 0
    interpolation: str = "bilinear"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, xs: Sequence[Array], labels: Array | None = None) -> Array:
        shape = (*xs[0].shape[:3], self.features)
        total = jnp.zeros(shape, self.dtype)
        for x in xs:
            h = norm(x, self.num_classes, labels) if self.num_classes else x
            total = total + jax.image.resize(conv(h, self.features, dtype=self.dtype), shape, self.interpolation)
        return total


class CondMSFBlock(MSFBlock):
    """MSFBlock under its name with classes."""


class RefineBlock(nn.Module):
    """Each input through an RCU, fused by an MSF unless `start`, then a CRP and an RCU of one block, three if `end`."""

    act: Activation
    features: int
    start: bool = False
    end: bool = False
    num_classes: int = 0
    interpolation: str = "bilinear"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, xs: Sequence[Array], labels: Array | None = None) -> Array:
        conditional = self.num_classes > 0
        rcu = CondRCUBlock if conditional else RCUBlock
        msf = CondMSFBlock if conditional else MSFBlock
        crp = CondCRPBlock if conditional else CRPBlock
        shared: dict[str, Any] = {"num_classes": self.num_classes, "dtype": self.dtype}
        hs = [rcu(self.act, 2, **shared)(x, labels) for x in xs]
        h = hs[0]
        if not self.start:
            h = msf(self.features, interpolation=self.interpolation, **shared)(hs, labels)
        h = crp(self.act, **shared)(h, labels)
        return rcu(self.act, 3 if self.end else 1, **shared)(h, labels)


class CondRefineBlock(RefineBlock):
    """RefineBlock under its name with classes."""

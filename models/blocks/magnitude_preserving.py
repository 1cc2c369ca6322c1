"""Layers that keep the root mean square of activations at one, whatever their weights have become.

Each output of a layer is a product with a weight vector of norm 1, so that inputs of magnitude 1 that are not
correlated give outputs of magnitude 1; the constants of the other functions are those for which the same holds. Weights
are stored with mean square 1: `training.optim.keep_normalized` scales them back after every step, without which they
would grow and learn ever more slowly.

Source: Karras et al., "Analyzing and Improving the Training Dynamics of Diffusion Models", CVPR 2024 (EDM2), section 2.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from models.blocks.convolution import CONV_DIMENSIONS, fastest, over_space, product
from models.blocks.dropout import Dropout

EPS = 1e-4  # added to a magnitude that is a denominator


def normalize(x: Array, axes: Sequence[int]) -> Array:
    """x divided by its root mean square over `axes`: `x / (EPS + |x| / sqrt(N))`."""
    squares = jnp.mean(jnp.square(x.astype(jnp.float32)), axis=tuple(axes), keepdims=True)
    return x / (EPS + jnp.sqrt(squares)).astype(x.dtype)


def normalize_weight(weight: Array) -> Array:
    """The weight [..., inputs, outputs] with mean square 1 over the inputs of each output."""
    return normalize(weight, range(weight.ndim - 1))


def pixel_norm(x: Array) -> Array:
    """x [B, ..., C] with mean square 1 over the channels of every pixel."""
    return normalize(x, (x.ndim - 1,))


def mp_silu(x: Array) -> Array:
    """`silu(x) / 0.596`, which has mean square 1 for standard normal x. Source: equation 81."""
    return nn.silu(x) / 0.596


def mp_sum(a: Array, b: Array, t: float) -> Array:
    """`((1 - t) a + t b) / sqrt((1 - t)^2 + t^2)`. Source: equation 88."""
    return ((1 - t) * a + t * b) / math.hypot(1 - t, t)


def mp_concat(a: Array, b: Array, t: float = 0.5) -> Array:
    """The channels of a [B, ..., N_a] and b [B, ..., N_b], scaled to contribute in proportion to 1 - t and t.

    sqrt((N_a + N_b) / ((1 - t)^2 + t^2)) [(1 - t) a / sqrt(N_a), t b / sqrt(N_b)]

    Source: equation 103.
    """
    total = math.sqrt((a.shape[-1] + b.shape[-1]) / ((1 - t) ** 2 + t**2))
    w_a, w_b = total * (1 - t) / math.sqrt(a.shape[-1]), total * t / math.sqrt(b.shape[-1])
    return jnp.concatenate([w_a * a, w_b * b], axis=-1)


def unpadded(sides: Sequence[int], size: int) -> Array:
    """sqrt(size^r / n) with n the inputs of each of r-dimensional outputs that are not padding: [1, *sides, 1].

    On 8x8 pixels, zeros would otherwise reduce the magnitude of a 3x3 convolution to 0.92, and on 4x4 to 0.83.
    """
    scale = jnp.ones((1, *sides, 1))
    for axis, side in enumerate(sides, start=1):
        k = np.arange(side)
        inside = np.minimum(k + size // 2, side - 1) - np.maximum(k - size // 2, 0) + 1
        scale = scale * np.sqrt(size / inside).reshape(*(side if a == axis else 1 for a in range(len(sides) + 2)))
    return scale


class MPFourier(nn.Module):
    """`sqrt(2) cos(2 pi (f x + phi))` with fixed `features` f ~ N(0, 1) and phi ~ U(0, 1): [B] to [B, features].

    Frequencies and phases are parameters, so that checkpoints contain them, but receive no gradient.
    Source: equation 75.
    """

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        frequency = self.param("frequency", nn.initializers.normal(1.0), (self.features,))
        phase = self.param("phase", lambda key, shape: jax.random.uniform(key, shape), (self.features,))
        frequency, phase = jax.lax.stop_gradient((frequency, phase))
        angles = x.astype(jnp.float32)[:, None] * frequency[None] + phase[None]
        return math.sqrt(2) * jnp.cos(2 * jnp.pi * angles)


class MPLinear(nn.Module):
    """A dense layer, or with `size` a convolution with zero padding, with a weight of norm 1 for each output, no bias.

    y = gain (w / |w|) x

    x: [B, ..., C] with `rank` spatial axes. gain: a number or a learned scalar; 1 unless given.
    Source: equations 47 and 66.
    """

    features: int
    size: int = 1
    rank: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, gain: Array | float = 1.0) -> Array:
        shape = (*(self.size,) * self.rank, x.shape[-1], self.features)
        weight = self.param("weight", lambda key: normalize_weight(jax.random.normal(key, shape)))
        fan_in = math.prod(shape[:-1])
        w = (normalize_weight(weight) * (gain / math.sqrt(fan_in))).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.size == 1:
            return product(x, w.reshape(w.shape[-2:]))
        convolve = fastest(self.size, self.rank) or jax.lax.conv_general_dilated
        y = convolve(x, w, (1,) * self.rank, "SAME", dimension_numbers=CONV_DIMENSIONS[self.rank])
        return y * unpadded(x.shape[1:-1], self.size).astype(y.dtype)


class CosineAttention(nn.Module):
    """Self-attention of all pixels of x [B, ..., C], with queries, keys and values of magnitude 1 per head.

    x <- mp_sum(x, pixel_norm(W_2 attention(normalize(W_1 x))), balance)

    The logits are then cosines times sqrt(C / num_heads). Source: section 2.2.
    Notes: the last norm is ours; a mean over pixels has a smaller magnitude.
    """

    num_heads: int
    balance: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        B, *sides, C = x.shape
        parts = MPLinear(3 * C, rank=len(sides), dtype=self.dtype)(x)
        parts = pixel_norm(parts.reshape(B, -1, 3, self.num_heads, C // self.num_heads))
        q, k, v = jnp.moveaxis(parts, 2, 0)
        y = jax.nn.dot_product_attention(q, k, v).reshape(B, *sides, C)
        return mp_sum(x, pixel_norm(MPLinear(C, rank=len(sides), dtype=self.dtype)(y)), self.balance)


class MPBlock(nn.Module):
    """A residual block of magnitude 1, modulated by an embedding [B, E].

        x <- pixel_norm(x),   y = pixel_norm(conv_2(dropout(mp_silu(conv_1(mp_silu(x)) (1 + gain W embedding)))))
        x <- pixel_norm(mp_sum(x, y, balance))

    encoder: x goes through its 1x1 convolution to `features` channels before the branch; in the decoder only the main
    path does, after it. num_heads: with any, attention follows. The gain is learned and starts at 0.
    Source: section 2, for config G of table 1.
    Notes: published are only the norms of x in the encoder. On few pixels activations then fade to 0.8, because of the
    padding (see `unpadded`) and because `mp_silu` is quadratic in small x, and the sum of terms that are correlated is
    larger than one. Here the terms and the sum are normalized, at every pixel.
    """

    features: int
    encoder: bool
    num_heads: int = 0
    dropout: float = 0.0
    balance: float = 0.3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, embedding: Array, train: bool) -> Array:
        rank = x.ndim - 2
        conv = {"size": 3, "rank": rank, "dtype": self.dtype}
        skip = MPLinear(self.features, rank=rank, dtype=self.dtype, name="skip")
        changes = x.shape[-1] != self.features
        x = pixel_norm(skip(x) if changes and self.encoder else x)
        y = MPLinear(self.features, **conv, name="conv_1")(mp_silu(x))
        gain = self.param("gain", nn.initializers.zeros, ())
        scale = 1 + MPLinear(self.features, dtype=self.dtype, name="modulation")(embedding, gain)
        y = Dropout(self.dropout)(mp_silu(y * over_space(scale, y)), train)
        y = pixel_norm(MPLinear(self.features, **conv, name="conv_2")(y))
        x = mp_sum(pixel_norm(skip(x)) if changes and not self.encoder else x, y, self.balance)
        if self.num_heads:
            x = CosineAttention(self.num_heads, self.balance, self.dtype, name="attention")(x)
        return pixel_norm(x)

"""The noise-conditional Wide ResNet whose gradient guides a sampler toward a class."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks import embeddings
from models.blocks.normalization import GroupNorm
from models.blocks.remat import Remat, block

EMBEDDING = 128  # frequencies of the noise level's embedding
HIDDEN = 512  # width of the layers after it
EPSILON = 1e-5  # of the normalization


def standardize(x: Array) -> Array:
    """Each image [B, H, W, C] with zero mean and unit standard deviation, taken to be at least 1 / sqrt(HWC)."""
    axes = (1, 2, 3)
    mean = x.mean(axes, keepdims=True)
    variance = ((x - mean) ** 2).mean(axes, keepdims=True)
    return (x - mean) / jnp.sqrt(jnp.maximum(variance, 1 / math.prod(x.shape[1:])))


class WideResnetBlock(nn.Module):
    """Pre-activation residual block conditioned on the noise level between its two convolutions.

    The shortcut is pooled by the stride and padded with channels of zeros; in the `first` block of the network it
    starts after the first activation.
    """

    features: int
    stride: int = 1
    first: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, temb: Array) -> Array:
        h = nn.relu(GroupNorm(epsilon=EPSILON, name="init_bn")(x))
        shortcut = h if self.first else x
        h = self._conv("conv1", self.stride)(h) + self._dense(nn.swish(temb))[:, None, None, :]
        h = nn.relu(GroupNorm(epsilon=EPSILON, name="bn_2")(h))
        h = self._conv("conv2", 1)(h)
        if self.stride > 1:
            shortcut = nn.avg_pool(shortcut, (self.stride, self.stride), (self.stride, self.stride))
        return h + jnp.pad(shortcut, ((0, 0), (0, 0), (0, 0), (0, self.features - shortcut.shape[-1])))

    def _dense(self, temb: Array) -> Array:
        return nn.Dense(self.features, dtype=self.dtype)(temb)

    def _conv(self, name: str, stride: int) -> nn.Conv:
        return nn.Conv(self.features, (3, 3), stride, use_bias=False, dtype=self.dtype, name=name)


class WideResnetGroup(nn.Module):
    """`blocks` residual blocks of one width; the first has the stride."""

    blocks: int
    features: int
    stride: int = 1
    first: bool = False
    dtype: Any = jnp.float32
    remat: Remat = False

    @nn.compact
    def __call__(self, x: Array, temb: Array) -> Array:
        kind = block(WideResnetBlock, self.remat)
        for i in range(self.blocks):
            stride, first = (self.stride, self.first) if i == 0 else (1, False)
            x = kind(self.features, stride, first, self.dtype)(x, temb)
        return x


class WideResnet(nn.Module):
    """Logits [B, `num_labels`] of the class of a noisy image, conditioned on its noise level.

    x: [B, H, W, C], sides divisible by 4, of any scale, since each image is standardized.
    sigma: [B], the noise level relative to the data, std(t) / mean_coeff(t), whose logarithm is embedded.
    `blocks_per_group` and `channel_multiplier`: depth and width; published for CIFAR-10: 4 and 10.
    Source: Song et al. 2021, appendix I.1; Zagoruyko and Komodakis, "Wide Residual Networks", 2016.
    Notes: the published program also subtracts CIFAR-10's mean color; here the classifier gets the same input as the
    score network, for any data set.
    """

    num_labels: int
    blocks_per_group: int = 4
    channel_multiplier: int = 10
    num_channels: int = 3
    dtype: Any = jnp.float32
    remat: Remat = False

    @nn.compact
    def __call__(
        self, x: Array, sigma: Array, cond: Any = None, *, train: bool = False, features: bool = False
    ) -> Array | dict[str, Array]:
        """Logits; with `features` also the last hidden layer: {"features" [B, D], "logits" [B, K]}."""
        interface.check_image(x, self.num_channels, 4)
        temb = nn.Dense(HIDDEN, dtype=self.dtype)(embeddings.GaussianFourierProjection(EMBEDDING)(jnp.log(sigma)))
        temb = nn.Dense(HIDDEN, dtype=self.dtype)(nn.swish(temb))
        h = nn.Conv(16, (3, 3), use_bias=False, dtype=self.dtype, name="init_conv")(standardize(x))
        for group, stride in enumerate((1, 2, 2)):
            width = 16 * 2**group * self.channel_multiplier
            h = WideResnetGroup(self.blocks_per_group, width, stride, group == 0, self.dtype, self.remat)(h, temb)
        h = nn.relu(GroupNorm(epsilon=EPSILON, name="pre-pool-bn")(h))
        pooled = h.astype(jnp.float32).mean((1, 2))
        logits = nn.Dense(self.num_labels, dtype=self.dtype)(pooled).astype(jnp.float32)
        return {"features": pooled, "logits": logits} if features else logits

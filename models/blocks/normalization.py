"""Group normalization over any number of spatial axes."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.arrays import Array
from models.blocks.convolution import over_space, spatial_axes


def num_groups(channels: int, limit: int) -> int:
    """The largest divisor of `channels` up to `limit`; at least 1."""
    return max(n for n in range(1, max(1, min(limit, channels)) + 1) if channels % n == 0)


class GroupNorm(nn.Module):
    """Zero mean and unit variance over the pixels and channels of each group, then scale and bias per channel.

    The number of groups is the largest divisor of C up to `limit`, by default min(C // 4, 32).
    Source: Wu and He, "Group Normalization", 2018.

    Notes: the published networks use min(C // 4, 32) itself, which fails if it does not divide C (C = 144), and DDPM
    uses 32; if that works, the result is the same. Statistics are first computed per channel, over contiguous memory.
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
            per_channel = values.mean(spatial_axes(x)).reshape(B, groups, C // groups)
            return over_space(jnp.repeat(per_channel.mean(-1), C // groups, axis=1), x)

        x32 = x.astype(jnp.float32)
        centered = x32 - group_mean(x32)
        factor = jax.lax.rsqrt(group_mean(centered**2) + self.epsilon) * over_space(scale[None], x)
        return (centered * factor + over_space(bias[None], x)).astype(x.dtype)

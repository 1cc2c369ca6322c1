"""Embeddings of a time or a noise level as a vector."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array


def sinusoidal(time: Array, dim: int, max_period: float = 10000.0, max_frequency: float = 1.0) -> Array:
    """[sin(t w_k) | cos(t w_k)], w_k = max_period^(-k / (h - 1)), k = 0 ... h - 1, h = dim // 2.

    time: [B], float or integer, roughly 0 ... 1000. Returns [B, dim]; if `dim` is odd, the last column is zero.
    max_frequency: columns with a larger w_k are zero, so that the function is smooth in time, and so its derivative.
    Source: Vaswani et al., "Attention Is All You Need", 2017, with the spacing used by Ho et al., DDPM, 2020.
    """
    half = dim // 2
    frequencies = np.exp(np.arange(half) * -(math.log(max_period) / max(half - 1, 1)))
    phases = time.astype(jnp.float32)[:, None] * jnp.asarray(frequencies, jnp.float32)[None, :]
    waves = [jnp.sin(phases), jnp.cos(phases)]
    if max_frequency < 1:
        waves = [wave * (frequencies <= max_frequency).astype(np.float32)[None] for wave in waves]
    columns = [*waves, jnp.zeros((time.shape[0], dim % 2), jnp.float32)]
    return jnp.concatenate(columns, axis=1)


class GaussianFourierProjection(nn.Module):
    """[sin | cos](2 pi W x) with `dim` fixed frequencies W ~ N(0, scale^2), sampled at initialization.

    x: [B], the logarithm of a noise level. Returns [B, 2 dim]. W is one of the parameters, so that checkpoints contain
    it, but receives no gradient. Source: Tancik et al., "Fourier Features", 2020.
    """

    dim: int
    scale: float = 16.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        W = self.param("W", nn.initializers.normal(stddev=self.scale), (self.dim,))
        phases = 2 * jnp.pi * x.astype(jnp.float32)[:, None] * jax.lax.stop_gradient(W)[None, :]
        return jnp.concatenate([jnp.sin(phases), jnp.cos(phases)], axis=1)

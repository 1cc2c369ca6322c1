"""The bound on the log-probability of levels by an SDE between two of its times, without dequantization.

    -log P(x0) <= KL(q_b | prior) + 1/2 int_a^b (g / std)^2 E|noise(x_s, s) - z|^2 ds + E[-log P(x0 | x_a)]

The data are levels themselves, a few values for each dimension, and the decoder P(x0 | x_a) knows that. Each of the
three terms is a function here. Source: Kingma et al., "Variational Diffusion Models", NeurIPS 2021, equations 11 to 17.
"""

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from corruption.gaussian import GaussianNoise
from corruption.predictions import Gaussian, Predict
from sde.base import SDE


def reconstruction_nats(sde: SDE, x0: Array, t: Array, z: Array, levels: Array) -> Array:
    """`-log P(x0 | x_t)`, P(level | x) proportional to N(x; mean_coeff level, std^2) in each dimension: [B], in nats.

    x0 [B, ...] has values of `levels` [L]; z [B, ...] is the noise of x_t.
    """
    m, std = broadcast_to_rank(sde.mean_coeff(t), x0), broadcast_to_rank(sde.std(t), x0)
    x = (m * x0 + std * z)[..., None]
    grid = levels.reshape((1,) * x0.ndim + levels.shape)
    logits = -0.5 * ((x - m[..., None] * grid) / std[..., None]) ** 2
    each = jax.nn.logsumexp(logits, axis=-1) + 0.5 * z**2
    return jnp.sum(each, axis=tuple(range(1, x0.ndim)))


def rate_nats(predict: Predict, sde: SDE, x0: Array, t: Array, z: Array, pace: Array | float = 1.0) -> Array:
    """`1/2 sum pace (g / std)^2 (noise(x_t, t) - z)^2`, the integrand of the bound at times t [B]: [B], in nats.

    t may also be a time for each number of x0, [B, ...]. pace: how fast t moves with the variable of the integral, of
    the shape of t; by default that is t itself.
    """
    error = GaussianNoise(sde).error(predict(sde.perturb(x0, t, z), t), Gaussian(x0, z), t)
    weight = broadcast_to_rank(0.5 * pace * (sde.diffusion(t) / sde.std(t)) ** 2, x0)
    return jnp.sum(weight * error**2, axis=tuple(range(1, x0.ndim)))

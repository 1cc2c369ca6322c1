"""The probability that a normal distribution has for levels: its integral over their cells."""

import jax.numpy as jnp
from jax.scipy.special import log_ndtr

from core.arrays import Array

FAR = 1e4  # standard deviations: the ends of the first and of the last cell


def log_probability_nats(levels: Array, mean: Array, std: Array, centers: Array, half: float, num_levels: int) -> Array:
    """ln P(level) [B, ...] of values with the distribution N(mean, std^2), [B, ...] and a number.

        P(l) = Phi((c_l + half - mean) / std) - Phi((c_l - half - mean) / std)

    `centers` [B, ...]: the centers of the cells of `levels` [B, ...], `half` half of their width. The first cell begins
    at minus infinity, and the last ends at infinity. Source: Salimans et al., ICLR 2017 (PixelCNN++), equation 2.
    """
    upper = jnp.where(levels == num_levels - 1, FAR, (centers + half - mean) / std)
    lower = jnp.where(levels == 0, -FAR, (centers - half - mean) / std)
    right = lower + upper > 0  # mirrored, so that the difference is one of small probabilities
    a, b = jnp.where(right, -lower, upper), jnp.where(right, -upper, lower)
    log_a, log_b = log_ndtr(a), log_ndtr(b)
    return log_a + jnp.log(-jnp.expm1(jnp.minimum(log_b - log_a, -1e-7)))

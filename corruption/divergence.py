"""The divergence of two normal distributions."""

import jax.numpy as jnp

from core.arrays import Array


def divergence_nats(mean: Array, std: Array, prior_mean: Array | float, prior_std: Array | float) -> Array:
    """KL(N(mean, std^2) || N(prior_mean, prior_std^2)) of each number, [B, ...], in nats.

    ln(prior_std / std) + (std^2 + (mean - prior_mean)^2) / (2 prior_std^2) - 1/2
    """
    squares = std**2 + (mean - prior_mean) ** 2
    return jnp.log(prior_std / std) + squares / (2 * jnp.square(prior_std)) - 0.5

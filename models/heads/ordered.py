"""Distributions over ordered categories, such as the levels of an image."""

import jax
import jax.numpy as jnp

from core.arrays import Array

HEADS = ("categories", "logistic")


def logistic(parameters: Array, num_categories: int) -> Array:
    """Logits [..., K] of a logistic distribution truncated to the K levels, from [..., 2]: its mean and log-width.

        p(v) proportional to sigma((c_v + 1 / K - mean) / s) - sigma((c_v - 1 / K - mean) / s),
        c_v = (2 v + 1) / K - 1,   s = exp(log-width - 2)

    in nats, up to a constant. Neighboring levels have similar probabilities from the start, so 256 of them need no more
    data than a few. Source: Salimans et al., ICLR 2017 (PixelCNN++), section 2.1; truncated: Austin et al., NeurIPS
    2021, appendix B.6.
    """
    mean, log_width = parameters[..., :1], parameters[..., 1:]
    inverse = jnp.exp(2.0 - jnp.clip(log_width, -5.0, 5.0))
    centers = (2 * jnp.arange(num_categories) + 1) / num_categories - 1
    shape = (1,) * (parameters.ndim - 1)
    distance, half = centers.reshape(*shape, -1) - mean, 1 / num_categories
    above, below = (distance + half) * inverse, (distance - half) * inverse
    # sigma(a) - sigma(b) = sigma(a) sigma(-b) (1 - exp(b - a)); the last factor is the same for all levels
    return -jax.nn.softplus(-above) - jax.nn.softplus(below)

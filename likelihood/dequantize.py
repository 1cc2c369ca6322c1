"""Between discrete levels 0 ... L - 1 and the continuous values that a model sees, and between nats and bits."""

import math

import jax
import jax.numpy as jnp

from sde.base import Array

MARGIN = 2.0**-12  # of a level: keeps float32 rounding from carrying a value into the neighbouring level


def uniform(keys: Array, levels: Array, num_levels: int, centered: bool) -> Array:
    """Uniform dequantisation: `x = (levels + u) / L`, u uniform in its level, scaled to [-1, 1] if `centered`.

    `levels` [B, ...] uint8; `keys` one key per example [B], consumed. Returns float32 [B, ...].
    Source: Theis et al. 2016, section 3.1. Notes: u keeps 2^-12 away from both ends, so that `quantize` inverts it.
    """
    if keys.shape != levels.shape[:1]:
        raise ValueError(f"keys has shape {keys.shape}, but there are {levels.shape[0]} examples: give one key each.")
    u = jax.vmap(lambda key: jax.random.uniform(key, levels.shape[1:], minval=MARGIN, maxval=1 - MARGIN))(keys)
    return _to_range((levels.astype(jnp.float32) + u) / num_levels, centered)


def midpoint(levels: Array, num_levels: int, centered: bool) -> Array:
    """The middle of each level: `x = (levels + 1/2) / L`, scaled to [-1, 1] if `centered`; [B, ...] to [B, ...]."""
    return _to_range((levels.astype(jnp.float32) + 0.5) / num_levels, centered)


def scale(levels: Array, num_levels: int, centered: bool) -> Array:
    """Levels onto the closed range, without dequantisation: `x = levels / (L - 1)`, [-1, 1] if `centered`.

    What published models are trained on. It is no dequantisation: the constant of `bits_per_dim` does not fit it.
    """
    return _to_range(levels.astype(jnp.float32) / (num_levels - 1), centered)


def quantize(x: Array, num_levels: int, centered: bool) -> Array:
    """The level of each value: `floor(L x)` within 0 ... L - 1, as uint8; inverts the three functions above."""
    unit = 0.5 * (x + 1) if centered else x
    return jnp.clip(jnp.floor(unit * num_levels), 0, num_levels - 1).astype(jnp.uint8)


def bits_per_dim(logp_nats: Array, num_dims: int, num_levels: int, centered: bool) -> Array:
    """Bits per dimension of discrete data, from the log-density in nats of its dequantised and scaled form.

    bits/dim = -logp_nats / (D ln 2) + log2(L) - (1 if centered else 0)

    A value is one of L = `num_levels`; scaled, its cell is a cube of side 1/L in [0, 1] or 2/L in [-1, 1], and the
    probability of the value is the integral of the density over that cube, whose volume is (side)^D. By Jensen's
    inequality the expectation of this figure over uniform dequantisation bounds the discrete model's from above.
    For L = 256 the constant is 8, or 7 where `centered`.
    Source: Theis et al. 2016, section 3.1; Song et al. 2021, appendix D.2.
    """
    return -logp_nats / (num_dims * math.log(2)) + math.log2(num_levels) - (1 if centered else 0)


def _to_range(unit: Array, centered: bool) -> Array:
    """[0, 1] to [-1, 1] if `centered`."""
    return 2 * unit - 1 if centered else unit

"""Between discrete levels 0 ... L - 1 and the continuous values that a model sees, and between nats and bits."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import erf

from core.arrays import Array


def margin(num_levels: int) -> float:
    """Of a level: keeps float32 rounding from carrying a value into the neighbouring one.

    A sum of level and fraction is right to L 2^-25, scaling it to [-1, 1] and back to L 2^-25 more: 2^-8 of a level of
    16 bits together, half of which must be spare.
    """
    return max(2.0**-12, num_levels * 2.0**-23)


def uniform(keys: Array, levels: Array, num_levels: int, centered: bool) -> Array:
    """Uniform dequantisation: `x = (levels + u) / L`, u uniform in its level, scaled to [-1, 1] if `centered`.

    `levels` [B, ...] integers; `keys` one key per example [B], consumed. Returns float32 [B, ...].
    Source: Theis et al. 2016, section 3.1. Notes: u keeps `margin` away from both ends, so that `quantize` inverts it.
    """
    if keys.shape != levels.shape[:1]:
        raise ValueError(f"keys has shape {keys.shape}, but there are {levels.shape[0]} examples: give one key each.")
    edge = margin(num_levels)
    u = jax.vmap(lambda key: jax.random.uniform(key, levels.shape[1:], minval=edge, maxval=1 - edge))(keys)
    return _to_range((levels.astype(jnp.float32) + u) / num_levels, centered)


def truncated_normal(
    keys: Array, levels: Array, num_levels: int, centered: bool, *, mean_coeff: Array, std: Array
) -> tuple[Array, Array]:
    """Dequantisation by the model's own noise, cut at the borders of the level, and its log-density in nats [B].

        x = mean_coeff c + std z,   z ~ N(0, 1) on (-tau, tau),   tau = mean_coeff side / (2 std)
        log q(x) = -|z|^2 / 2 - D ln(sqrt(2 pi) std erf(tau / sqrt 2))

    c is the middle of the level, side its width (1/L, or 2/L if `centered`). x [B, ...] is a sample at the time whose
    `mean_coeff` and `std` (scalars) are given, in the level's cell times mean_coeff: `quantize(x / mean_coeff)` is
    the level. For the log-probability of the levels see `log_probability_nats`.
    `levels` [B, ...] integers; `keys` one key per example [B], consumed.
    Source: Zheng et al., "Improved Techniques for Maximum Likelihood Estimation for Diffusion ODEs", ICML 2023.
    Notes: for a model that was trained without dequantisation, whose density at that time is of the levels with noise.
    To one that was trained with it, uniform on each level, noise narrower than a level is a poor match.
    As in `uniform`, x keeps `margin` of a level away from the borders.
    """
    if keys.shape != levels.shape[:1]:
        raise ValueError(f"keys has shape {keys.shape}, but there are {levels.shape[0]} examples: give one key each.")
    side = (2 if centered else 1) / num_levels
    tau = mean_coeff * side / (2 * std) * (1 - 2 * margin(num_levels))
    z = jax.vmap(lambda key: jax.random.truncated_normal(key, -tau, tau, levels.shape[1:]))(keys)
    num_dims = math.prod(levels.shape[1:])
    normalizer = 0.5 * math.log(2 * math.pi) + jnp.log(std) + jnp.log(erf(tau / math.sqrt(2)))
    logq = -0.5 * jnp.sum(z**2, axis=tuple(range(1, z.ndim))) - num_dims * normalizer
    return mean_coeff * midpoint(levels, num_levels, centered) + std * z, logq


def log_probability_nats(logp_nats: Array, logq_nats: Array) -> Array:
    """A lower bound [B] on the log-probability of discrete data from K dequantisations of each example, [K, B] both.

    log P >= E log 1/K sum_k p(x_k) / q(x_k),    x_k ~ q independently

    p is the model's density, q the dequantisation's. The bound rises with K, to log P.
    Source: Burda et al., ICLR 2016, theorem 1.
    """
    return jax.nn.logsumexp(logp_nats - logq_nats, axis=0) - math.log(logp_nats.shape[0])


def midpoint(levels: Array, num_levels: int, centered: bool) -> Array:
    """The middle of each level: `x = (levels + 1/2) / L`, scaled to [-1, 1] if `centered`; [B, ...] to [B, ...]."""
    return _to_range((levels.astype(jnp.float32) + 0.5) / num_levels, centered)


def scale(levels: Array, num_levels: int, centered: bool) -> Array:
    """Levels onto the closed range, without dequantisation: `x = levels / (L - 1)`, [-1, 1] if `centered`.

    What published models are trained on. It is no dequantisation: the constant of `bits_per_dim` does not fit it.
    """
    return _to_range(levels.astype(jnp.float32) / (num_levels - 1), centered)


def quantize(x: Array, num_levels: int, centered: bool) -> Array:
    """The level of each value: `floor(L x)` within 0 ... L - 1; inverts `uniform`, `midpoint` and `scale`.

    As uint8, or uint16 where L is above 256.
    """
    unit = 0.5 * (x + 1) if centered else x
    dtype = jnp.uint8 if num_levels <= 2**8 else jnp.uint16
    return jnp.clip(jnp.floor(unit * num_levels), 0, num_levels - 1).astype(dtype)


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


def uniform_logq_nats(num_dims: int, num_levels: int, centered: bool) -> float:
    """Log-density in nats of uniform dequantisation, 1 / volume of a cell: `D ln L`, or `D ln(L/2)` if centered."""
    return num_dims * math.log(num_levels / (2 if centered else 1))


def _to_range(unit: Array, centered: bool) -> Array:
    """[0, 1] to [-1, 1] if `centered`."""
    return 2 * unit - 1 if centered else unit

"""Conversion between discrete levels 0 ... L - 1 and the continuous values of a model, and between nats and bits."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import erf

from core.arrays import Array


def margin(num_levels: int) -> float:
    """Fraction of a level kept free at its ends, so that float32 rounding cannot move a value to the next level.

    The sum of a level and a fraction has an error of up to L 2^-25, and scaling it to [-1, 1] and back as much again:
    2^-8 of a level for 16 bits. The margin at each end must be at least half of that.
    """
    return max(2.0**-12, num_levels * 2.0**-23)


def uniform(keys: Array, levels: Array, num_levels: int, centered: bool) -> Array:
    """Uniform dequantization: `x = (levels + u) / L`, u uniform in [0, 1], scaled to [-1, 1] if `centered`.

    `levels` [B, ...] integers; `keys` one key per example [B], consumed. Returns float32 [B, ...].
    Errors: ValueError for another number of keys. Source: Theis et al. 2016, section 3.1.
    Notes: u stays `margin` away from both ends, so that `quantize` inverts this function.
    """
    if keys.shape != levels.shape[:1]:
        raise ValueError(f"keys has shape {keys.shape}, but there are {levels.shape[0]} examples: give one key each.")
    edge = margin(num_levels)
    u = jax.vmap(lambda key: jax.random.uniform(key, levels.shape[1:], minval=edge, maxval=1 - edge))(keys)
    return _to_range((levels.astype(jnp.float32) + u) / num_levels, centered)


def truncated_normal(
    keys: Array, levels: Array, num_levels: int, centered: bool, *, mean_coeff: Array, std: Array
) -> tuple[Array, Array]:
    """Dequantization with the model's own noise, truncated at the edges of the level, and its log-density in nats [B].

        x = mean_coeff c + std z,   z ~ N(0, 1) on (-tau, tau),   tau = mean_coeff side / (2 std)
        log q(x) = -|z|^2 / 2 - D ln(sqrt(2 pi) std erf(tau / sqrt 2))

    c is the center of the level, side its width (1/L, or 2/L if `centered`). x [B, ...] is a sample at the time with
    this `mean_coeff` and `std` (scalars), within the cell of the level scaled by mean_coeff: `quantize(x / mean_coeff)`
    is the level. For the log-probability of the levels see `log_probability_nats`.
    `levels` [B, ...] integers; `keys` one key per example [B], consumed. Errors: ValueError for another number of keys.
    Source: Zheng et al., "Improved Techniques for Maximum Likelihood Estimation for Diffusion ODEs", ICML 2023.
    Notes: this is for a model trained without dequantization, whose density at that time is that of the levels plus
    noise. For a model trained on uniformly dequantized data, noise narrower than a level is a poor match. As in
    `uniform`, x stays `margin` away from the edges: what is nearer is moved there. Truncating the noise there instead
    would cost -log2(1 - 2 margin) bits/dim, 7e-4 of 256 levels and 0.02 of 65,536.
    """
    if keys.shape != levels.shape[:1]:
        raise ValueError(f"keys has shape {keys.shape}, but there are {levels.shape[0]} examples: give one key each.")
    side = (2 if centered else 1) / num_levels
    tau = mean_coeff * side / (2 * std)
    z = jax.vmap(lambda key: jax.random.truncated_normal(key, -tau, tau, levels.shape[1:]))(keys)
    num_dims = math.prod(levels.shape[1:])
    normalizer = 0.5 * math.log(2 * math.pi) + jnp.log(std) + jnp.log(erf(tau / math.sqrt(2)))
    logq = -0.5 * jnp.sum(z**2, axis=tuple(range(1, z.ndim))) - num_dims * normalizer
    inside = tau * (1 - 2 * margin(num_levels))
    return mean_coeff * midpoint(levels, num_levels, centered) + std * jnp.clip(z, -inside, inside), logq


def log_probability_nats(logp_nats: Array, logq_nats: Array) -> Array:
    """A lower bound [B] on the log-probability of discrete data from K dequantizations per example, both [K, B].

    log P >= E log 1/K sum_k p(x_k) / q(x_k),    x_k ~ q independently

    p is the density of the model, q that of the dequantization. The bound converges to log P as K increases.
    Source: Burda et al., ICLR 2016, theorem 1.
    """
    return jax.nn.logsumexp(logp_nats - logq_nats, axis=0) - math.log(logp_nats.shape[0])


def midpoint(levels: Array, num_levels: int, centered: bool) -> Array:
    """The center of each level: `x = (levels + 1/2) / L`, scaled to [-1, 1] if `centered`; [B, ...] to [B, ...]."""
    return _to_range((levels.astype(jnp.float32) + 0.5) / num_levels, centered)


def scale(levels: Array, num_levels: int, centered: bool) -> Array:
    """Scales levels to the closed range without dequantization: `x = levels / (L - 1)`, in [-1, 1] if `centered`.

    Published models are trained on this. The constant of `bits_per_dim` does not apply to it.
    """
    return _to_range(levels.astype(jnp.float32) / (num_levels - 1), centered)


def quantize(x: Array, num_levels: int, centered: bool) -> Array:
    """The level of each value, `floor(L x)` clipped to 0 ... L - 1; inverts `uniform`, `midpoint` and `scale`.

    Returns uint8, or uint16 for L above 256.
    """
    unit = 0.5 * (x + 1) if centered else x
    dtype = jnp.uint8 if num_levels <= 2**8 else jnp.uint16
    return jnp.clip(jnp.floor(unit * num_levels), 0, num_levels - 1).astype(dtype)


def bits_per_dim(logp_nats: Array, num_dims: int, num_levels: int, centered: bool) -> Array:
    """Bits per dimension of discrete data, from the log-density in nats of their dequantized and scaled values.

    bits/dim = -logp_nats / (D ln 2) + log2(L) - (1 if centered else 0)

    Every value is one of L = `num_levels` levels. Scaled, the cell of an example is a cube with side 1/L in [0, 1] or
    2/L in [-1, 1], and its probability is the integral of the density over that cube, whose volume is (side)^D. By
    Jensen's inequality the expectation over uniform dequantization is an upper bound on that of the discrete model.
    For L = 256 the constant is 8, or 7 if `centered`.
    Source: Theis et al. 2016, section 3.1; Song et al. 2021, appendix D.2.
    """
    return -logp_nats / (num_dims * math.log(2)) + math.log2(num_levels) - (1 if centered else 0)


def uniform_logq_nats(num_dims: int, num_levels: int, centered: bool) -> float:
    """Log-density in nats of uniform dequantization, 1 / volume of a cell: `D ln L`, or `D ln(L/2)` if `centered`."""
    return num_dims * math.log(num_levels / (2 if centered else 1))


def _to_range(unit: Array, centered: bool) -> Array:
    """Maps [0, 1] to [-1, 1] if `centered`."""
    return 2 * unit - 1 if centered else unit

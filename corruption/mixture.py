"""Mixtures of normal distributions: their density, the probability of a ball, and samples."""

import math

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.keys import MixtureKey, draw_normal, fold_in
from corruption.predictions import Mixture


def log_density(mixture: Mixture, z: Array) -> Array:
    """`ln sum_c w_c N(z; mean_c, std_c^2)` of vectors z [B, ..., d]: [B, ...], in nats."""
    return _log_density(mixture, z, jnp.zeros(z.shape[:-1]))


def ball_nats(mixture: Mixture, z: Array, radius: Array) -> Array:
    """An upper bound on -ln of the probability of the ball of `radius` [B, ...] around z [B, ..., d]: [B, ...].

        P(|y - z| < rho) >= V(rho) sum_c w_c N(z; mean_c, std_c^2) exp(-rho^2 / (2 (d + 2)) sum_a std_ca^-2)

    V(rho): the volume of the ball. By Jensen's inequality for the mean of each density over the ball, where the square
    of each coordinate has the mean rho^2 / (d + 2). It is close where the radius is small against the deviations.
    """
    d = z.shape[-1]
    log_volume = 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d + 1) + d * jnp.log(radius)
    return -(_log_density(mixture, z, radius) + log_volume)


def draw(keys: Array, mixture: Mixture) -> Array:
    """A sample of each position, [B, ..., d], from one key for each example."""
    shape = mixture.log_weights.shape[1:]
    gumbel = jax.vmap(lambda key: jax.random.gumbel(key, shape))(fold_in(keys, MixtureKey.COMPONENT))
    component = jnp.argmax(mixture.log_weights + gumbel, axis=-1)[..., None, None]
    mean, log_std = (jnp.take_along_axis(a, component, axis=-2)[..., 0, :] for a in (mixture.mean, mixture.log_std))
    return mean + jnp.exp(log_std) * draw_normal(fold_in(keys, MixtureKey.NOISE), mean.shape)


def scaled(mixture: Mixture, scale: Array) -> Mixture:
    """The mixture of vectors multiplied by `scale` [B, ...]."""
    factor = scale[..., None, None]
    return Mixture(mixture.log_weights, factor * mixture.mean, jnp.log(factor) + mixture.log_std)


def _log_density(mixture: Mixture, z: Array, radius: Array) -> Array:
    """The same, of each normal density its geometric mean over the ball of this radius."""
    d = z.shape[-1]
    squares = (z[..., None, :] - mixture.mean) ** 2 + (radius**2 / (d + 2))[..., None, None]
    each = -0.5 * squares * jnp.exp(-2 * mixture.log_std) - mixture.log_std - 0.5 * math.log(2 * math.pi)
    return jax.nn.logsumexp(jax.nn.log_softmax(mixture.log_weights) + jnp.sum(each, axis=-1), axis=-1)

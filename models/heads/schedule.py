"""A learned noise schedule: an increasing function of time, and its ends."""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.arrays import Array

PACE = 10.0  # how much faster these parameters move than those of a network, at the same learning rate


class Schedule(NamedTuple):
    """A map of times t to times of an SDE, `first + (last - first) shape(t)`: shape and its slope [B], and two numbers.

    The ends decide what the bound on a likelihood is; the shape only how much its estimate at a random t varies.
    """

    shape: Array
    slope: Array
    first: Array
    last: Array


class MonotoneSchedule(nn.Module):
    """An increasing network, scaled to a shape from 0 to 1, and the ends in the first and the last half of time.

        f(t) = w t + sum_k a_k sigmoid(b_k (t - c_k)),   shape = (f(t) - f(0)) / (f(1) - f(0)),   w, a_k, b_k > 0

    It starts almost as the identity, and with ends close to 0 and 1. Positive parameters are exponentials; the stored
    ones are divided by `PACE`, because an end has to cross half of the range within a short training.
    Source: Kingma et al., "Variational Diffusion Models", NeurIPS 2021, appendix H.
    Notes: published are 1024 units and ends without limits; here the ends stay in the range of the SDE.
    """

    units: int = 32

    @nn.compact
    def __call__(self, t: Array) -> Schedule:
        K = self.units
        constant = lambda value: nn.initializers.constant(value)  # noqa: E731
        w = jnp.exp(PACE * self.param("slope", nn.initializers.zeros, ()))
        a = jnp.exp(PACE * self.param("heights", constant(-math.log(10 * K) / PACE), (K,)))[None]
        b = jnp.exp(PACE * self.param("steepness", constant(math.log(2 * K) / PACE), (K,)))[None]
        c = self.param("centers", lambda key: (jnp.arange(K, dtype=jnp.float32) + 0.5) / K)[None]
        ends = 0.5 * jax.nn.sigmoid(PACE * self.param("ends", constant(-4.0 / PACE), (2,)))

        def f(t: Array) -> Array:
            return w * t + jnp.sum(a * jax.nn.sigmoid(b * (t[:, None] - c)), axis=-1)

        low, high = f(jnp.zeros(1)), f(jnp.ones(1))
        s = jax.nn.sigmoid(b * (t[:, None] - c))
        slope = (w + jnp.sum(a * b * s * (1 - s), axis=-1)) / (high - low)
        return Schedule((f(t) - low) / (high - low), slope, ends[0], 1 - ends[1])

"""The linear path from data to noise, on which flow matching trains."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from core.arrays import Array
from sde.base import SDE, Expect


@dataclasses.dataclass(frozen=True)
class Linear(SDE):
    """x_t = (1 - t) x0 + t z, a straight line from data to noise, with the velocity z - x0.

        mean_coeff = 1 - t,  std = t,  drift_coeff = -1 / (1 - t),  diffusion^2 = 2 t / (1 - t)

    Source: Liu et al., "Flow Straight and Fast", ICLR 2023; Lipman et al., "Flow Matching for Generative Modeling",
    ICLR 2023; as an SDE: Albergo et al., "Stochastic Interpolants", 2023.
    Notes: drift and diffusion are infinite at t = 1, and so is std / mean_coeff. In the last `end` of time the mean
    stays `end` x0 and only noise is added: drift_coeff 0, diffusion^2 = 2 t. Every method is then finite at t = 1 as it
    is. For data with mean square v the prior differs from the marginal by less than `end`^2 v / 2 nats per dimension,
    and the likelihood takes as many evaluations as that of VP, whose mean coefficient is 0.0066 at t = 1.
    """

    end: float = 5e-3

    def drift_coeff(self, t: Array) -> Array:
        return jnp.where(1 - t > self.end, -1 / self.mean_coeff(t), 0.0)

    def diffusion(self, t: Array) -> Array:
        return jnp.sqrt(2 * t / jnp.where(1 - t > self.end, self.mean_coeff(t), 1.0))

    def mean_coeff(self, t: Array) -> Array:
        return jnp.maximum(1 - t, self.end)

    def std(self, t: Array) -> Array:
        return t

    @property
    def prior_std(self) -> float:
        return 1.0

    def dense_times(self, eps: float) -> Array:
        """1, and times from 1 - end down to eps in equal steps of ln((1 - t) / t), which is -inf at 1: [4096]."""
        first, last = (math.log((1 - t) / t) for t in (1 - self.end, eps))
        inside = jax.nn.sigmoid(-jnp.linspace(first, last, 4095))
        return jnp.concatenate([jnp.ones(1), inside[:-1], jnp.full(1, eps)])

    def probability_flow(self, predict: Expect, x: Array, t: Array) -> Array:
        """`noise - x0`: the velocity of the line, of order one at every time, t = 1 included."""
        x0, noise = predict(x, t)
        return noise - x0

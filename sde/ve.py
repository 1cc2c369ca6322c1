"""The variance-exploding SDE."""

import dataclasses
import math

import jax.numpy as jnp

from core.arrays import Array
from sde.base import SDE


@dataclasses.dataclass(frozen=True)
class VE(SDE):
    """dx = sigma(t) sqrt(2 ln(sigma_max / sigma_min)) dw,  sigma(t) = sigma_min (sigma_max / sigma_min)^t.

    The continuous limit of SMLD's noise levels. `std(0) = sigma_min`: even at t = 0 the data have this much noise.
    Source: Song et al. 2021, equations 9, 30 and 31.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def drift_coeff(self, t: Array) -> Array:
        return jnp.zeros_like(t)

    def diffusion(self, t: Array) -> Array:
        return self.std(t) * math.sqrt(2 * math.log(self.sigma_max / self.sigma_min))

    def mean_coeff(self, t: Array) -> Array:
        return jnp.ones_like(t)

    def std(self, t: Array) -> Array:
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    @property
    def prior_std(self) -> float:
        return self.sigma_max

"""The SDE of EDM, whose noise level is linear in time."""

import dataclasses

import jax.numpy as jnp

from core.arrays import Array
from sde.base import SDE


@dataclasses.dataclass(frozen=True)
class EDM(SDE):
    """dx = sigma_max sqrt(2 t) dw,  sigma(t) = sigma_max t: EDM's sigma = t, with time in units of sigma_max.

    Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", NeurIPS 2022, table 1.
    """

    sigma_max: float = 80.0

    def drift_coeff(self, t: Array) -> Array:
        return jnp.zeros_like(t)

    def diffusion(self, t: Array) -> Array:
        return self.sigma_max * jnp.sqrt(2 * t)

    def mean_coeff(self, t: Array) -> Array:
        return jnp.ones_like(t)

    def std(self, t: Array) -> Array:
        return self.sigma_max * t

    @property
    def prior_std(self) -> float:
        return self.sigma_max

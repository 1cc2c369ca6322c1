"""The sub-variance-preserving SDE."""

import dataclasses

import jax.numpy as jnp

from core.arrays import Array
from sde.base import SDE
from sde.vp import LinearBeta


@dataclasses.dataclass(frozen=True)
class SubVP(LinearBeta, SDE):
    """dx = -beta(t) x / 2 dt + sqrt(beta(t) (1 - exp(4 L(t)))) dw: the mean of VP, with at most its variance.

    Source: Song et al. 2021, equations 27 and 29.
    Notes: `std` and `diffusion` use `expm1`; the published form has an error of 1% at t = 1e-5 in float32.
    """

    def drift_coeff(self, t: Array) -> Array:
        return -0.5 * self.beta(t)

    def diffusion(self, t: Array) -> Array:
        return jnp.sqrt(self.beta(t) * -jnp.expm1(4 * self.log_mean_coeff(t)))

    def mean_coeff(self, t: Array) -> Array:
        return jnp.exp(self.log_mean_coeff(t))

    def std(self, t: Array) -> Array:
        return -jnp.expm1(2 * self.log_mean_coeff(t))

    @property
    def prior_std(self) -> float:
        return 1.0

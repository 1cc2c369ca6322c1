"""The variance-preserving SDE."""

import dataclasses

import jax.numpy as jnp

from core.arrays import Array
from sde.base import SDE


@dataclasses.dataclass(frozen=True)
class LinearBeta:
    """The schedule of VP and sub-VP: `beta(t) = beta_min + t (beta_max - beta_min)`, per unit of time."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def beta(self, t: Array) -> Array:
        """beta(t)."""
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def log_mean_coeff(self, t: Array) -> Array:
        """`L(t) = -1/2 int_0^t beta = -t^2 (beta_max - beta_min) / 4 - t beta_min / 2`."""
        return -(t**2) * (self.beta_max - self.beta_min) / 4 - t * self.beta_min / 2


@dataclasses.dataclass(frozen=True)
class VP(LinearBeta, SDE):
    """dx = -beta(t) x / 2 dt + sqrt(beta(t)) dw: the continuous limit of DDPM's chain.

    Source: Song et al. 2021, equations 11, 32 and 33.
    Notes: `std` uses `expm1`; the published `1 - exp(2 L)` has an error of 0.5% at t = 1e-5 in float32.
    """

    def drift_coeff(self, t: Array) -> Array:
        return -0.5 * self.beta(t)

    def diffusion(self, t: Array) -> Array:
        return jnp.sqrt(self.beta(t))

    def mean_coeff(self, t: Array) -> Array:
        return jnp.exp(self.log_mean_coeff(t))

    def std(self, t: Array) -> Array:
        return jnp.sqrt(-jnp.expm1(2 * self.log_mean_coeff(t)))

    @property
    def prior_std(self) -> float:
        return 1.0

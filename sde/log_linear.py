"""The variance-preserving SDE whose log signal-to-noise ratio is linear in time."""

import dataclasses

import jax
import jax.numpy as jnp

from core.arrays import Array
from sde.base import SDE


@dataclasses.dataclass(frozen=True)
class LogLinear(SDE):
    """mean_coeff^2 = sigmoid(l), std^2 = sigmoid(-l), with l falling from log_snr_max at t = 0 to log_snr_min at t = 1.

        diffusion^2 = r std^2,   drift_coeff = -r std^2 / 2,   r = log_snr_max - log_snr_min

    Every variance-preserving SDE with these ends is this one with another time, so that a noise schedule is a map of
    times. Source: Kingma et al., "Variational Diffusion Models", NeurIPS 2021, section 4 and appendix E.
    """

    log_snr_min: float = -5.0
    log_snr_max: float = 13.3

    @property
    def rate(self) -> float:
        """r = -dl/dt."""
        return self.log_snr_max - self.log_snr_min

    def log_snr(self, t: Array) -> Array:
        """l(t)."""
        return self.log_snr_max - self.rate * t

    def drift_coeff(self, t: Array) -> Array:
        return -0.5 * self.rate * jax.nn.sigmoid(-self.log_snr(t))

    def diffusion(self, t: Array) -> Array:
        return jnp.sqrt(self.rate * jax.nn.sigmoid(-self.log_snr(t)))

    def mean_coeff(self, t: Array) -> Array:
        return jnp.exp(-0.5 * jax.nn.softplus(-self.log_snr(t)))  # whose derivative keeps its digits, too

    def std(self, t: Array) -> Array:
        return jnp.exp(-0.5 * jax.nn.softplus(self.log_snr(t)))

    @property
    def prior_std(self) -> float:
        return 1.0

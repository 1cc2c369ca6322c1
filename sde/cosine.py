"""The variance-preserving SDE with a cosine schedule."""

import dataclasses
import math

import jax.numpy as jnp

from core.arrays import Array
from sde.base import SDE


@dataclasses.dataclass(frozen=True)
class Cosine(SDE):
    """mean_coeff = cos(phi(t)), std = sin(phi(t)), with phi linear in t; its ends are log signal-to-noise ratios.

        phi = phi_0 + t (phi_1 - phi_0),   tan(phi) = std / mean_coeff = exp(-log_snr / 2)
        drift_coeff = -phi' tan(phi),      diffusion^2 = 2 phi' tan(phi)

    Source: Nichol and Dhariwal, ICML 2021, equation 17, in the continuous form of Salimans and Ho, ICLR 2022; the ends
    are given as log-SNRs as in Hoogeboom et al., ICML 2023, so that every coefficient is finite at t = 1.
    Notes: near t = 1 `mean_coeff` is computed as the sine of pi / 2 - phi, which keeps its digits; the cosine of phi
    has a relative error of 1e-4 there in float32.
    """

    log_snr_min: float = -15.0
    log_snr_max: float = 15.0

    @property
    def _ends(self) -> tuple[float, float]:
        """phi at t = 0, and pi / 2 - phi at t = 1."""
        return math.atan(math.exp(-self.log_snr_max / 2)), math.atan(math.exp(self.log_snr_min / 2))

    @property
    def _slope(self) -> float:
        """phi'."""
        return math.pi / 2 - sum(self._ends)

    def _phi(self, t: Array) -> Array:
        return self._ends[0] + t * self._slope

    def drift_coeff(self, t: Array) -> Array:
        return -self._slope * self.std(t) / self.mean_coeff(t)

    def diffusion(self, t: Array) -> Array:
        return jnp.sqrt(2 * self._slope * self.std(t) / self.mean_coeff(t))

    def mean_coeff(self, t: Array) -> Array:
        return jnp.where(t < 0.5, jnp.cos(self._phi(t)), jnp.sin(self._ends[1] + (1 - t) * self._slope))

    def std(self, t: Array) -> Array:
        return jnp.sin(self._phi(t))

    @property
    def prior_std(self) -> float:
        return 1.0

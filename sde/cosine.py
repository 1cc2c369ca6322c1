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
    """

    log_snr_min: float = -15.0
    log_snr_max: float = 15.0

    @property
    def _ends(self) -> tuple[float, float]:
        return math.atan(math.exp(-self.log_snr_max / 2)), math.atan(math.exp(-self.log_snr_min / 2))

    def _phi(self, t: Array) -> Array:
        start, end = self._ends
        return start + t * (end - start)

    def drift_coeff(self, t: Array) -> Array:
        start, end = self._ends
        return -(end - start) * jnp.tan(self._phi(t))

    def diffusion(self, t: Array) -> Array:
        start, end = self._ends
        return jnp.sqrt(2 * (end - start) * jnp.tan(self._phi(t)))

    def mean_coeff(self, t: Array) -> Array:
        return jnp.cos(self._phi(t))

    def std(self, t: Array) -> Array:
        return jnp.sin(self._phi(t))

    @property
    def prior_std(self) -> float:
        return 1.0

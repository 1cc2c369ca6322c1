"""Discrete-time models behind the interface of an SDE: DDPM's table of betas and SMLD's sequence of sigmas."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from sde.base import SDE
from sde.ve import VE
from sde.vp import VP


@dataclasses.dataclass(frozen=True)
class DiscreteChain(SDE):
    """A Markov chain of `num_scales` noise levels with the interface of an SDE.

        level(t) = trunc(t (N - 1)),   and -1 for t < 0: the clean data, with mean_coeff 1 and std 0

    The steps of a sampler go from level i to i - 1, the last one to level -1. The transition between neighboring levels
    is exactly that of the chain. A chain has no drift and no diffusion: those of the SDE `limit` that it discretizes
    are used instead. `means`, `stds`: N values each, starting from the least noise.

    Source: Song et al. 2021, appendices B, E and F.
    """

    limit: SDE
    means: tuple[float, ...]
    stds: tuple[float, ...]

    @property
    def is_discrete(self) -> bool:
        return True

    @property
    def continuous_limit(self) -> SDE:
        return self.limit

    @property
    def num_scales(self) -> int:
        return len(self.stds)

    @property
    def level_stds(self) -> tuple[float, ...]:
        return self.stds

    def index(self, t: Array) -> Array:
        """Level at time t: -1 (data), 0 (least noise) ... N - 1; int32, same shape as t."""
        level = jnp.trunc(t * (self.num_scales - 1)).astype(jnp.int32)
        return jnp.where(t < 0, -1, jnp.clip(level, 0, self.num_scales - 1))

    def time(self, level: Array) -> Array:
        """A time at which the chain is at `level` (0 ... N - 1): level / (N - 1), up to float32 rounding."""
        return jnp.asarray(_level_times(self.num_scales))[level]

    def drift_coeff(self, t: Array) -> Array:
        return self.limit.drift_coeff(t)

    def diffusion(self, t: Array) -> Array:
        return self.limit.diffusion(t)

    def mean_coeff(self, t: Array) -> Array:
        return jnp.asarray((1.0, *self.means), jnp.float32)[self.index(t) + 1]

    def std(self, t: Array) -> Array:
        return jnp.asarray((0.0, *self.stds), jnp.float32)[self.index(t) + 1]

    @property
    def prior_std(self) -> float:
        return self.limit.prior_std


@functools.cache
def _level_times(num_scales: int) -> np.ndarray:
    """level / (N - 1) for every level, rounded up where `trunc(t (N - 1))` would otherwise be one level too low."""
    scale, levels = np.float32(num_scales - 1), np.arange(num_scales, dtype=np.float32)
    times = (levels / scale).astype(np.float32)
    while np.any(short := times * scale < levels):
        times = np.where(short, np.nextafter(times, np.float32(np.inf)), times)
    return times


def ddpm_chain(beta_min: float, beta_max: float, num_scales: int) -> DiscreteChain:
    """DDPM: `x_i = sqrt(1 - b_i) x_{i-1} + sqrt(b_i) z`, `b = linspace(beta_min / N, beta_max / N, N)`.

    Errors: ValueError for beta_max / N >= 1, where 1 - b is not positive (the published tables are NaN there).
    """
    if beta_max / num_scales >= 1:
        raise ValueError(
            f"num_scales = {num_scales} is too small for beta_max = {beta_max}: "
            f"beta_max / num_scales must be below 1, so use num_scales > {beta_max:g}."
        )
    cumulative = np.cumprod(1 - np.linspace(beta_min / num_scales, beta_max / num_scales, num_scales))
    means, stds = np.sqrt(cumulative), np.sqrt(1 - cumulative)
    return DiscreteChain(VP(beta_min, beta_max), tuple(means.tolist()), tuple(stds.tolist()))


def smld_chain(sigma_min: float, sigma_max: float, num_scales: int) -> DiscreteChain:
    """SMLD: N noise levels in geometric progression from sigma_min to sigma_max, added to the data."""
    sigmas = np.geomspace(sigma_min, sigma_max, num_scales)
    return DiscreteChain(VE(sigma_min, sigma_max), (1.0,) * num_scales, tuple(sigmas.tolist()))

"""An SDE in another time, which may be another one for each number of an example."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from core.arrays import Array
from sde.base import SDE

Clock = Callable[[Array], tuple[Array, Array]]  # t [B] -> times s of another SDE, and ds/dt; [B] or [B, ...]


@dataclasses.dataclass(frozen=True)
class Warped(SDE):
    """`sde` at the times s(t) of a clock, as a process in t.

        mean_coeff(t), std(t): those of `sde` at s,   drift_coeff(t) = s' drift_coeff(s),   diffusion(t)^2 = s' g(s)^2

    Where s is [B, ...], so is everything else, and each number of x has noise of its own amount. Steps that only add
    and multiply coefficients take these as they are: ancestral sampling, DDIM, Euler-Maruyama, Heun. s has to increase
    from about 0 to about 1, so that the prior remains that of `sde`.
    """

    sde: SDE
    clock: Clock

    def drift_coeff(self, t: Array) -> Array:
        s, pace = self.clock(t)
        return pace * self.sde.drift_coeff(s)

    def diffusion(self, t: Array) -> Array:
        s, pace = self.clock(t)
        return jnp.sqrt(pace) * self.sde.diffusion(s)

    def mean_coeff(self, t: Array) -> Array:
        return self.sde.mean_coeff(self.clock(t)[0])

    def std(self, t: Array) -> Array:
        return self.sde.std(self.clock(t)[0])

    @property
    def prior_std(self) -> float:
        return self.sde.prior_std

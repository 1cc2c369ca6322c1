"""Coordinates in which the probability flow is nearly straight, so that a solver can take long steps.

    u = arcsinh(sigma / s),   y = x / a;      sigma = std / mean_coeff,  a^2 = mean_coeff^2 s^2 + std^2
    dy/du = -std (score(x, t) + x / a^2)

s is about the deviation of the data, so that y has unit variance at every time. A Gaussian of deviation s stands still
in these coordinates; what moves is what the network knows beyond it, and the velocity is of order one at both ends,
where dx/dt has the factors 1 / std and, for VP, beta. u is sigma / s below s and its logarithm above. Neither the
ODE's solution nor a density depends on s.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from sde.base import SDE, Array, ScoreFn, expand
from sde.discrete import Tabulated


@dataclasses.dataclass(frozen=True)
class Chart:
    """The coordinates (u, y) of (t, x) for times in [eps, 1]; of a chain's limit, which has derivatives.

    Source: the ODE is equation 13 of Song et al. 2021 by the chain rule, with da/dt = a (drift_coeff + g^2 / (2 a^2))
    and du/dt = g^2 / (2 a std); the scaling is that of Karras et al., NeurIPS 2022, table 1 (c_in), there for x alone.
    """

    sde: SDE
    eps: float
    data_std: float = 0.5

    @property
    def _sde(self) -> SDE:
        return self.sde.limit if isinstance(self.sde, Tabulated) else self.sde

    @property
    def ends(self) -> tuple[Array, Array]:
        """u at t = eps and at t = 1."""
        return self.coordinate(jnp.asarray(self.eps)), self.coordinate(jnp.asarray(1.0))

    def scale(self, t: Array) -> Array:
        """a(t)."""
        return jnp.sqrt((self._sde.mean_coeff(t) * self.data_std) ** 2 + self._sde.std(t) ** 2)

    def coordinate(self, t: Array) -> Array:
        """u(t)."""
        return jnp.arcsinh(self._sde.std(t) / (self._sde.mean_coeff(t) * self.data_std))

    def time(self, u: ArrayLike) -> Array:
        """t(u) in [eps, 1], by bisection of ln t down to the rounding of its type; a scalar."""
        u = jnp.asarray(u)

        def halve(_: Array, interval: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = interval
            middle = 0.5 * (low + high)
            above = self.coordinate(jnp.exp(middle)) > u
            return jnp.where(above, low, middle), jnp.where(above, middle, high)

        ends = jnp.asarray(math.log(self.eps), u.dtype), jnp.asarray(0.0, u.dtype)
        low, high = jax.lax.fori_loop(0, jnp.finfo(u.dtype).nmant + 4, halve, ends)
        return jnp.exp(0.5 * (low + high))

    def velocity(self, score_fn: ScoreFn, y: Array, u: ArrayLike) -> Array:
        """dy/du of `y` [B, ...] at the scalar `u`: one evaluation of the score."""
        t = jnp.full(y.shape[:1], self.time(u), y.dtype)
        a, std = expand(self.scale(t), y), expand(self._sde.std(t), y)
        return -std * (score_fn(a * y, t) + y / a)

    def log_volume(self, num_dims: int) -> Array:
        """What a log-density gains between the ends as x = a y stretches: `D ln(a(1) / a(eps))`, in nats."""
        return num_dims * (jnp.log(self.scale(jnp.asarray(1.0))) - jnp.log(self.scale(jnp.asarray(self.eps))))

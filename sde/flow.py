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
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from core.arrays import Array, broadcast_to_rank
from sde.base import SDE, ScoreFn
from sde.chain import DiscreteChain


@dataclasses.dataclass(frozen=True)
class FlowCoordinates:
    """The coordinates (u, y) of (t, x) for times in [eps, 1]; of a chain's limit, which has derivatives.

    Source: the ODE is equation 13 of Song et al. 2021 by the chain rule, with da/dt = a (drift_coeff + g^2 / (2 a^2))
    and du/dt = g^2 / (2 a std); the scaling is that of Karras et al., NeurIPS 2022, table 1 (c_in), there for x alone.
    """

    sde: SDE
    eps: float
    data_std: float = 0.5

    @property
    def _sde(self) -> SDE:
        return self.sde.limit if isinstance(self.sde, DiscreteChain) else self.sde

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
        a, std = broadcast_to_rank(self.scale(t), y), broadcast_to_rank(self._sde.std(t), y)
        return -std * (score_fn(a * y, t) + y / a)

    def log_volume(self, num_dims: int) -> Array:
        """What a log-density gains between the ends as x = a y stretches: `D ln(a(1) / a(eps))`, in nats."""
        return num_dims * (jnp.log(self.scale(jnp.asarray(1.0))) - jnp.log(self.scale(jnp.asarray(self.eps))))


def integrate(
    field: Callable[[ArrayLike, Any], Any],
    start: Any,
    u0: ArrayLike,
    u1: ArrayLike,
    *,
    rtol: float,
    atol: float,
    max_steps: int,
    solver: str = "dopri5",
) -> tuple[Any, Array]:
    """The state (a tree) at `u1` of `dy/du = field(u, y)` from `start` at `u0`, and the evaluations taken, int32.

    Adaptive steps of `solver`, in either direction; NaN everywhere where the solve fails.
    """
    make, each = SOLVERS[solver]
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda u, state, args: field(u, state)),
        make(),
        t0=u0,
        t1=u1,
        dt0=None,
        y0=start,
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol, dtmin=1e-9, force_dtmin=False),
        max_steps=max_steps,
        throw=False,
    )
    solved = solution.result == diffrax.RESULTS.successful
    final = jax.tree.map(lambda y: jnp.where(solved, y[0], jnp.nan), solution.ys)
    # The first evaluation, and those of every attempted step, whose last is handed to the next.
    return final, (each * solution.stats["num_steps"] + 1).astype(jnp.int32)


# The solver, and its evaluations in a step. A trained network is not smooth in time to the last digits, as it is told
# 999 t in sines and cosines, which suits the small, positive weights of bosh3: the sum of their squares is 0.36, that
# of dopri5 0.76, of tsit5 18.
SOLVERS: dict[str, tuple[Callable[[], diffrax.AbstractSolver], int]] = {
    "bosh3": (diffrax.Bosh3, 3),
    "dopri5": (diffrax.Dopri5, 6),
    "tsit5": (diffrax.Tsit5, 6),
    "dopri8": (diffrax.Dopri8, 13),
}

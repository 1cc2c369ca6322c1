"""The adaptive ODE driver, and coordinates in which the probability flow is nearly straight.

    u = arcsinh(sigma / s),   y = x / a;      sigma = std / mean_coeff,  a^2 = mean_coeff^2 s^2 + std^2
    dy/du = c (c noise - d x0 / s);                  c = mean_coeff s / a,  d = std / a

s is roughly the standard deviation of the data, so that y has about unit variance at every time. A Gaussian with
standard deviation s does not move at all in these coordinates; only what the network knows beyond that moves. The
velocity is of order one at both ends, where dx/dt has the factors 1 / std and, for VP, beta. u is sigma / s for small
sigma and grows as its logarithm for large sigma. Neither the solution of the ODE nor a density depends on s.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from core.arrays import Array, broadcast_to_rank
from sde.base import SDE, Expect


@dataclasses.dataclass(frozen=True)
class FlowCoordinates:
    """The coordinates (u, y) of (t, x) for times in [eps, 1]; for a chain, those of its continuous limit.

    Source: the ODE is equation 13 of Song et al. 2021 by the chain rule, with da/dt = a (drift_coeff + g^2 / (2 a^2))
    and du/dt = g^2 / (2 a std); the scaling is c_in of Karras et al., NeurIPS 2022, table 1, applied to the ODE.
    """

    sde: SDE
    eps: float
    data_std: float = 0.5

    @property
    def ends(self) -> tuple[Array, Array]:
        """u at t = eps and at t = 1."""
        return self.coordinate(jnp.asarray(self.eps)), self.coordinate(jnp.asarray(1.0))

    def scale(self, t: Array) -> Array:
        """a(t)."""
        sde = self.sde.continuous_limit
        return jnp.sqrt((sde.mean_coeff(t) * self.data_std) ** 2 + sde.std(t) ** 2)

    def coordinate(self, t: Array) -> Array:
        """u(t)."""
        sde = self.sde.continuous_limit
        return jnp.arcsinh(sde.std(t) / (sde.mean_coeff(t) * self.data_std))

    def time(self, u: ArrayLike) -> Array:
        """t(u) in [eps, 1] for a scalar u, by bisection in ln t down to rounding error."""
        u = jnp.asarray(u)

        def halve(_: Array, interval: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = interval
            middle = 0.5 * (low + high)
            above = self.coordinate(jnp.exp(middle)) > u
            return jnp.where(above, low, middle), jnp.where(above, middle, high)

        ends = jnp.asarray(math.log(self.eps), u.dtype), jnp.asarray(0.0, u.dtype)
        low, high = jax.lax.fori_loop(0, jnp.finfo(u.dtype).nmant + 4, halve, ends)
        return jnp.exp(0.5 * (low + high))

    def velocity(self, predict: Expect, y: Array, u: ArrayLike) -> Array:
        """dy/du at `y` [B, ...] and the scalar `u`: one prediction.

        Notes: equal to -std (score + x / a^2), whose two terms cancel where there is almost nothing but noise.
        """
        t, sde = jnp.full(y.shape[:1], self.time(u), y.dtype), self.sde.continuous_limit
        a = self.scale(t)
        c, d = (broadcast_to_rank(part / a, y) for part in (sde.mean_coeff(t) * self.data_std, sde.std(t)))
        x0, noise = predict(broadcast_to_rank(a, y) * y, t)
        return c * (c * noise - d / self.data_std * x0)

    def log_volume(self, num_dims: int) -> Array:
        """Change of a log-density between the ends from the scaling x = a y: `D ln(a(1) / a(eps))`, in nats."""
        return num_dims * (jnp.log(self.scale(jnp.asarray(1.0))) - jnp.log(self.scale(jnp.asarray(self.eps))))


class Solver(NamedTuple):
    """An adaptive Runge-Kutta method: its constructor, and how often it evaluates the field.

    `evals_per_step`: evaluations in each attempted step, accepted or rejected. `evals_before_first`: 1 for methods
    whose last evaluation in a step is the first of the next, else 0.
    """

    make: Callable[[], diffrax.AbstractSolver]
    evals_per_step: int
    evals_before_first: int


# The field of a trained network is not smooth in time down to the last digits, because networks embed 999 t in sines
# and cosines. This favors methods with small, positive weights: their squares sum to 0.36 for bosh3, 0.76 for dopri5
# and 18 for tsit5.
SOLVERS: dict[str, Solver] = {
    "bosh3": Solver(diffrax.Bosh3, 3, 1),
    "dopri5": Solver(diffrax.Dopri5, 6, 1),
    "tsit5": Solver(diffrax.Tsit5, 6, 1),
    "dopri8": Solver(diffrax.Dopri8, 13, 1),
    "heun": Solver(diffrax.Heun, 2, 0),
}


def integrate(
    field: Callable[[ArrayLike, Any], Any],
    start: Any,
    t0: ArrayLike,
    t1: ArrayLike,
    *,
    rtol: float,
    atol: float,
    max_steps: int,
    solver: str = "dopri5",
    save_at: Array | None = None,
) -> tuple[Any, Array]:
    """Solves `dy/dt = field(t, y)` from `start` at `t0` to `t1`, in either direction, with adaptive steps.

    `start`: a pytree, whose shared error norm chooses the steps. `solver`: one of `SOLVERS`. `max_steps`: attempted
    steps. Returns the states at the times `save_at` [K], interpolated between steps, stacked as [K, ...] (K = 1 and
    the state at `t1` if it is None), and the number of evaluations of the field (int32, exact).
    Errors are values: every state is NaN if the solve fails (too many steps, non-finite values).
    """
    method = SOLVERS[solver]
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: field(t, y)),
        method.make(),
        t0=t0,
        t1=t1,
        dt0=None,
        y0=start,
        saveat=diffrax.SaveAt(t1=True) if save_at is None else diffrax.SaveAt(ts=save_at),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol, dtmin=1e-9, force_dtmin=False),
        max_steps=max_steps,
        throw=False,
    )
    solved = solution.result == diffrax.RESULTS.successful
    states = jax.tree.map(lambda y: jnp.where(solved, y, jnp.nan), solution.ys)
    num_evals = method.evals_per_step * solution.stats["num_steps"] + method.evals_before_first
    return states, num_evals.astype(jnp.int32)

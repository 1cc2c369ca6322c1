"""Sampling by the probability-flow ODE with an adaptive solver."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.typing import ArrayLike

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Predict
from sampling.base import Constrain, Samples, Start, begin, keys_of_examples, unconstrained
from sde.base import SDE
from sde.flow import SOLVERS, FlowCoordinates, integrate

Field = Callable[[ArrayLike, Array], Array]  # (u, y) -> dy/du


@dataclasses.dataclass(frozen=True)
class ProbabilityFlow:
    """Solves the probability-flow ODE from the prior at t = 1 to `eps`; a `Sampler` that supports no constraint.

    dx/dt = drift_coeff(t) x + diffusion(t)^2 noise(x, t) / (2 std(t)), solved in the coordinates (angle) of `sde.flow`

    `solver`: one of `sde.flow.SOLVERS`. `per_example`: every example has its own steps and error norm, so it does not
    depend on its batch. Otherwise the norm is taken over the whole batch, and a sample agrees with that of another
    batch only to within the tolerances. Either way predictions are for whole batches.
    `denoise`: return the posterior mean of the data given x at eps (one more prediction).
    `data_std`: the approximate standard deviation of the data, which affects the steps but not the result.
    `max_steps`: attempted steps. A solve that fails (too many steps, non-finite values) returns NaN: everywhere, or
    with `per_example` for that example only.
    `num_evals` counts every evaluation, of accepted and rejected steps (of the slowest example) and of `denoise`.
    Consumes the keys of the examples, for the prior only.
    Errors: ValueError for an unknown solver, and for a constraint.
    Source: Song et al. 2021, section 4.3 and appendix D.
    Notes: the published solver runs on the host in double precision, and denoises with a reverse-diffusion step of 1/N.
    """

    sde: SDE
    eps: float = 1e-3
    rtol: float = 1e-5
    atol: float = 1e-5
    max_steps: int = 10_000
    denoise: bool = False
    solver: str = "dopri5"
    per_example: bool = False
    data_std: float = 0.5

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise ValueError(f"solver = {self.solver!r} is not one of {', '.join(SOLVERS)}.")

    def __call__(
        self,
        key: Array,
        predict: Predict,
        shape: Sequence[int],
        *,
        start: Start | None = None,
        constrain: Constrain = unconstrained,
        trajectory: int = 0,
    ) -> Samples:
        """Samples [B, ...] at the data (`denoise`) or at `eps`; see `sampling.base.Sampler`.

        `trajectory`: states at evenly spaced times, interpolated between the steps of the solver.
        """
        if constrain is not unconstrained:
            raise ValueError("The probability-flow ODE supports no constraint; use the predictor-corrector sampler.")
        x, t0 = (
            begin(self.sde.prior_sample, keys_of_examples(key, shape[0]), shape, start),
            1.0 if start is None else start[1],
        )
        coordinates = FlowCoordinates(self.sde, self.eps, self.data_std, "angle")
        times = jnp.linspace(t0, self.eps, trajectory + 1 if trajectory > 1 else 2, dtype=x.dtype)
        ends, y = coordinates.coordinate(times), x / coordinates.scale(times[0])

        states, num_evals = solve(lambda u, y: coordinates.velocity(predict, y, u), y, ends, **self.settings)
        states = broadcast_to_rank(coordinates.scale(times[1:]), states) * states
        x = states[-1]
        if self.denoise:
            x = predict(x, jnp.full((shape[0],), self.eps, x.dtype)).x0
        return Samples(x, num_evals + int(self.denoise), states.at[-1].set(x) if trajectory else None)

    @property
    def settings(self) -> dict[str, Any]:
        """Those of `solve`, `latent.encode` and `latent.decode`."""
        return {name: getattr(self, name) for name in ("rtol", "atol", "max_steps", "solver", "per_example")}


def solve(velocity: Field, y: Array, u: Array, *, per_example: bool = False, **settings: Any) -> tuple[Array, Array]:
    """States [K, B, ...] at u[1:], from y [B, ...] at u[0], and the number of evaluations. NaN where the solve failed.

    per_example, settings: as in `ProbabilityFlow`.
    """
    save_at = u[1:] if len(u) > 2 else None

    def of(field: Field, y: Array) -> tuple[Array, Array]:
        return integrate(field, y, u[0], u[-1], save_at=save_at, **settings)

    if not per_example:
        return of(velocity, y)
    field = _of_each_example(velocity, jnp.full((len(y),), u[0]), y)
    states, counts = jax.vmap(lambda y: of(field, y), out_axes=(1, 0))(y)
    return states, jnp.max(counts)


def _of_each_example(velocity: Callable[[Array, Array], Array], t: Array, x: Array) -> Field:
    """`velocity` of a batch (t [B], x [B, ...]) for single examples; `vmap` calls it once for the whole batch."""
    import equinox  # slow to import

    # Arrays that the velocity closes over become arguments: a batching rule must not close over traced values.
    closed = equinox.filter_closure_convert(velocity, t, x)
    arrays, rest = equinox.partition(closed, equinox.is_array)
    num = len(t)

    def of_batch(t: Array, x: Array, arrays: Any) -> Array:
        return equinox.combine(arrays, rest)(t, x)

    @custom_vmap
    def of_example(t: Array, x: Array, arrays: Any) -> Array:
        return of_batch(jnp.broadcast_to(t, (num,)), jnp.broadcast_to(x[None], (num, *x.shape)), arrays)[0]

    @of_example.def_vmap
    def batched(axis_size: int, is_batched: list, t: Array, x: Array, arrays: Any) -> tuple[Array, bool]:
        t = t if is_batched[0] else jnp.broadcast_to(t, (axis_size,))
        x = x if is_batched[1] else jnp.broadcast_to(x[None], (axis_size, *x.shape))
        return of_batch(t, x, arrays), True

    return lambda t, x: of_example(jnp.asarray(t, x.dtype), x, arrays)

"""Exact log-likelihood by the instantaneous change of variables along the probability-flow ODE."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from core.arrays import Array
from corruption.predictions import Predict
from likelihood.divergence import Divergence, Hutchinson
from sde.base import SDE
from sde.flow import FlowCoordinates, integrate


class Likelihood(NamedTuple):
    """Log-likelihood of each example, in nats and summed over its dimensions, and its parts.

    logp_nats [B] = prior_logp_nats [B] + delta_logp_nats [B];  latent [B, ...] is the solution at t = 1;
    num_evals: predictions (int32), each with the Jacobian-vector products of the estimator;
    estimates_nats [K, B]: the integral of each estimate of the divergence; their mean is delta_logp_nats.
    """

    logp_nats: Array
    latent: Array
    prior_logp_nats: Array
    delta_logp_nats: Array
    num_evals: Array
    estimates_nats: Array

    @property
    def standard_error_nats(self) -> Array:
        """Standard error of logp_nats [B] from the choice of probes, from the K estimates; NaN for K = 1."""
        size = self.estimates_nats.shape[0]
        if size == 1:
            return jnp.full_like(self.logp_nats, jnp.nan)
        return jnp.std(self.estimates_nats, axis=0, ddof=1) / size**0.5


def drift_and_divergence(predict: Predict, sde: SDE, x: Array, t: Array, epsilon: Array) -> tuple[Array, Array]:
    """Drift v of the probability-flow ODE [B, ...] and Hutchinson's estimate of its divergence [B], in one pass.

    `x`, `epsilon` [B, ...]; `t` [B]; see `divergence.Hutchinson`. Source: Song et al. 2021, equation 40.
    """
    drift, divergence = Hutchinson(epsilon[None])(lambda x: sde.probability_flow(predict, x, t), x)
    return drift, divergence[0]


def log_likelihood(
    predict: Predict,
    sde: SDE,
    x: Array,
    divergence: Divergence | Array,
    *,
    eps: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 10_000,
    per_example_steps: bool = False,
    solver: str = "dopri5",
    data_std: float = 0.5,
) -> Likelihood:
    """Log-density of `x` [B, ...] under the model at time `eps`, by solving the ODE from eps to 1.

        log p(x) = log prior(x(1)) + int_eps^1 div v(x(t), t) dt,    dx/dt = v(x, t)
                 = log prior(a(1) y(1)) + D ln(a(1) / a(eps)) + int div_y (dy/du) du,    x = a y

    The second line, in the coordinates of `sde.flow`, is the one solved: the same integral in fewer steps.
    `divergence`: an estimator, or the probes [B, ...] of Hutchinson's (`sample_probes`). The probes are fixed for the
    whole solve; the trajectory depends on them only through the choice of steps. `solver`: one of `sde.flow.SOLVERS`,
    for the state (y, integral of each estimate); `max_steps`: attempted steps. The error norm is over the whole batch,
    or with `per_example_steps` over each example, which then chooses its own steps. `data_std`: the approximate
    standard deviation of the data, which affects the steps but not the result. Jittable.
    Errors: ValueError for probes of another shape; NaN for all examples of a solve that fails (too many steps, ...).
    Source: Song et al. 2021, equation 39 and appendix D.2.
    Notes: the published code evaluates drift and divergence separately, on the host. As there, x is treated as a sample
    at time eps, not 0: the density is that of the marginal at eps. `likelihood.decoder` has the alternative.
    """
    if isinstance(divergence, jax.Array):
        if divergence.shape != x.shape:
            raise ValueError(f"epsilon has shape {divergence.shape}, but x has {x.shape}.")
        divergence = Hutchinson(divergence[None])
    coordinates, num_dims = FlowCoordinates(sde, eps, data_std), math.prod(x.shape[1:])
    settings: dict[str, Any] = {"rtol": rtol, "atol": atol, "max_steps": max_steps, "solver": solver}

    def solve(x: Array, divergence: Divergence) -> tuple[Array, Array, Array]:
        def field(u: ArrayLike, state: tuple[Array, Array]) -> tuple[Array, Array]:
            return divergence(lambda y: coordinates.velocity(predict, y, u), state[0])

        y = x / coordinates.scale(jnp.asarray(eps, x.dtype))
        num_estimates = jax.eval_shape(lambda: field(coordinates.ends[0], (y, y)))[1].shape[0]
        start = y, jnp.zeros((num_estimates, x.shape[0]), x.dtype)
        states, num_evals = integrate(field, start, *coordinates.ends, **settings)
        y, estimates = jax.tree.map(lambda state: state[-1], states)
        latent = coordinates.scale(jnp.asarray(1.0, x.dtype)) * y
        return latent, estimates + coordinates.log_volume(num_dims), num_evals

    def solve_one(x: Array, divergence: Divergence) -> tuple[Array, Array, Array]:
        latent, estimates, num_evals = solve(x[None], jax.tree.map(lambda a: a[:, None], divergence))
        return latent[0], estimates[:, 0], num_evals

    if per_example_steps:
        latent, estimates, counts = jax.vmap(solve_one, in_axes=(0, 1), out_axes=(0, 1, 0))(x, divergence)
        num_evals = jnp.max(counts)
    else:
        latent, estimates, num_evals = solve(x, divergence)
    prior_logp, delta_logp = sde.prior_logp(latent), jnp.mean(estimates, axis=0)
    return Likelihood(prior_logp + delta_logp, latent, prior_logp, delta_logp, num_evals, estimates)

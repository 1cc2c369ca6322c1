"""Exact log-likelihood by the instantaneous change of variables along the probability-flow ODE."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from likelihood.divergence import Divergence, Hutchinson
from sde.base import SDE, Array, ScoreFn


class Likelihood(NamedTuple):
    """Log-likelihood of each example, in nats and summed over its dimensions, and the parts it is made of.

    logp_nats [B] = prior_logp_nats [B] + delta_logp_nats [B];  latent [B, ...] is x carried to t = 1;
    num_evals: evaluations of the score function (int32), each together with the estimator's Jacobian-vector products;
    estimates_nats [K, B]: the integral for each estimate of the divergence, of which delta_logp_nats is the mean.
    """

    logp_nats: Array
    latent: Array
    prior_logp_nats: Array
    delta_logp_nats: Array
    num_evals: Array
    estimates_nats: Array

    @property
    def standard_error_nats(self) -> Array:
        """What the probes leave uncertain about logp_nats [B], from the spread of K estimates; NaN for K = 1."""
        size = self.estimates_nats.shape[0]
        if size == 1:
            return jnp.full_like(self.logp_nats, jnp.nan)
        return jnp.std(self.estimates_nats, axis=0, ddof=1) / size**0.5


def drift_and_divergence(score_fn: ScoreFn, sde: SDE, x: Array, t: Array, epsilon: Array) -> tuple[Array, Array]:
    """Drift v of the probability-flow ODE [B, ...] and Hutchinson's estimate of its divergence [B], in one pass.

    `x`, `epsilon` [B, ...]; `t` [B]; see `divergence.Hutchinson`. Source: Song et al. 2021, equation 40.
    """
    drift, divergence = Hutchinson(epsilon[None])(lambda x: sde.probability_flow(score_fn, x, t), x)
    return drift, divergence[0]


def log_likelihood(
    score_fn: ScoreFn,
    sde: SDE,
    x: Array,
    divergence: Divergence | Array,
    *,
    eps: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 10_000,
    per_example_steps: bool = False,
) -> Likelihood:
    """Log-density of `x` [B, ...] under the model at time `eps`, by solving the ODE from eps to 1.

    log p(x) = log prior(x(1)) + int_eps^1 div v(x(t), t) dt,    dx/dt = v(x, t)

    `divergence`: an estimator, or the probes [B, ...] of Hutchinson's (`draw_probes`); its probes are kept for the
    whole solve, and the trajectory does not depend on them but for the choice of steps. Dormand-Prince 5(4) on the
    state (x, integral of each estimate); `max_steps` attempted steps. The error norm is over the whole batch, or with
    `per_example_steps` over each example, which then has steps of its own: the batch takes as many as the hardest.
    A solve that fails (too many steps, non-finite values) returns NaN for all that shared its steps. Jittable.
    Source: Song et al. 2021, equation 39 and appendix D.2.
    Notes: the published code evaluates drift and divergence apart, through the host. As there, x is taken as a sample
    at time eps, not 0: the model that is measured is its marginal at eps. `likelihood.offset` has the alternative.
    """
    if isinstance(divergence, jax.Array):
        if divergence.shape != x.shape:
            raise ValueError(f"epsilon has shape {divergence.shape}, but x has {x.shape}.")
        divergence = Hutchinson(divergence[None])

    def solve(x: Array, divergence: Divergence) -> tuple[Array, Array, Array]:
        def field(t: ArrayLike, state: tuple[Array, Array]) -> tuple[Array, Array]:
            at = jnp.full(x.shape[:1], t)
            return divergence(lambda x: sde.probability_flow(score_fn, x, at), state[0])

        num_estimates = jax.eval_shape(lambda: field(jnp.asarray(eps), (x, x)))[1].shape[0]
        start = x, jnp.zeros((num_estimates, x.shape[0]), x.dtype)
        (latent, estimates), num_evals = integrate(
            field, start, t0=eps, t1=1.0, rtol=rtol, atol=atol, max_steps=max_steps
        )
        return latent, estimates, num_evals

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


def integrate(
    field: Callable[[ArrayLike, Any], Any],
    start: Any,
    *,
    t0: float,
    t1: float,
    rtol: float,
    atol: float,
    max_steps: int,
) -> tuple[Any, Array]:
    """The state (a tree) at `t1` of `dy/dt = field(t, y)` from `start` at `t0`, and the evaluations taken, int32.

    Dormand-Prince 5(4) with adaptive steps in either direction; NaN everywhere where the solve fails.
    """
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, state, args: field(t, state)),
        diffrax.Dopri5(),
        t0=t0,
        t1=t1,
        dt0=None,
        y0=start,
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol, dtmin=1e-9, force_dtmin=False),
        max_steps=max_steps,
        throw=False,
    )
    solved = solution.result == diffrax.RESULTS.successful
    final = jax.tree.map(lambda y: jnp.where(solved, y[0], jnp.nan), solution.ys)
    # The first evaluation, and six for every attempted step.
    return final, (6 * solution.stats["num_steps"] + 1).astype(jnp.int32)

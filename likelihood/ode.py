"""Exact log-likelihood by the instantaneous change of variables along the probability-flow ODE."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from sde.base import SDE, Array, ScoreFn


class Likelihood(NamedTuple):
    """Log-likelihood of each example, in nats and summed over its dimensions, and the parts it is made of.

    logp_nats [B] = prior_logp_nats [B] + delta_logp_nats [B];  latent [B, ...] is x carried to t = 1;
    num_evals: evaluations of the score function (int32), each together with one Jacobian-vector product.
    """

    logp_nats: Array
    latent: Array
    prior_logp_nats: Array
    delta_logp_nats: Array
    num_evals: Array


def drift_and_divergence(score_fn: ScoreFn, sde: SDE, x: Array, t: Array, epsilon: Array) -> tuple[Array, Array]:
    """Drift v of the probability-flow ODE [B, ...] and Hutchinson's estimate of its divergence [B], in one pass.

    div v  ~  epsilon . (dv/dx) epsilon,    unbiased where E[epsilon epsilon^T] = I

    `x`, `epsilon` [B, ...]; `t` [B]. One Jacobian-vector product gives both, as examples do not act on each other.
    Source: Song et al. 2021, equation 40; Hutchinson 1990; Grathwohl et al. 2019 (FFJORD).
    """
    drift, change = jax.jvp(lambda x: sde.probability_flow(score_fn, x, t), (x,), (epsilon,))
    return drift, jnp.sum(epsilon * change, axis=tuple(range(1, x.ndim)))


def log_likelihood(
    score_fn: ScoreFn,
    sde: SDE,
    x: Array,
    epsilon: Array,
    *,
    eps: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 10_000,
) -> Likelihood:
    """Log-density of `x` [B, ...] under the model at time `eps`, by solving the ODE from eps to 1.

    log p(x) = log prior(x(1)) + int_eps^1 div v(x(t), t) dt,    dx/dt = v(x, t)

    `epsilon` [B, ...]: the probes (`draw_probes`), kept for the whole solve. Dormand-Prince 5(4) on the state
    (x, integral), with the error norm over the whole batch; `max_steps` attempted steps.
    A solve that fails (too many steps, non-finite values) returns NaN everywhere. Jittable.
    Source: Song et al. 2021, equation 39 and appendix D.2.
    Notes: the published code evaluates drift and divergence apart, through the host. As there, x is taken as a sample
    at time eps, not 0: the model that is measured is its marginal at eps.
    """
    if epsilon.shape != x.shape:
        raise ValueError(f"epsilon has shape {epsilon.shape}, but x has {x.shape}.")

    def field(t: ArrayLike, state: tuple[Array, Array], args: None) -> tuple[Array, Array]:
        return drift_and_divergence(score_fn, sde, state[0], jnp.full(x.shape[:1], t), epsilon)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Dopri5(),
        t0=eps,
        t1=1.0,
        dt0=None,
        y0=(x, jnp.zeros(x.shape[:1], x.dtype)),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol, dtmin=1e-9, force_dtmin=False),
        max_steps=max_steps,
        throw=False,
    )
    solved = solution.result == diffrax.RESULTS.successful
    latent, delta_logp = (jnp.where(solved, y[0], jnp.nan) for y in solution.ys)
    prior_logp = sde.prior_logp(latent)
    num_evals = (6 * solution.stats["num_steps"] + 1).astype(jnp.int32)  # the first, and six for every attempted step
    return Likelihood(prior_logp + delta_logp, latent, prior_logp, delta_logp, num_evals)


def draw_probes(kind: str, keys: Array, shape: Sequence[int]) -> Array:
    """Probes of `shape` [B, ...] with mean zero and unit covariance; `keys` is one key per example [B], consumed.

    `kind`: "rademacher" (signs; the smaller variance) or "gaussian".
    """
    if kind not in PROBES:
        raise ValueError(f"The kind of probe must be one of {', '.join(PROBES)}, not {kind!r}.")
    if keys.shape != tuple(shape[:1]):
        raise ValueError(f"keys has shape {keys.shape}, but there are {shape[0]} examples: give one key per example.")
    return jax.vmap(lambda key: PROBES[kind](key, tuple(shape[1:])))(keys)


PROBES: dict[str, Callable[..., Array]] = {
    "rademacher": lambda key, shape: jax.random.rademacher(key, shape, jnp.float32),
    "gaussian": jax.random.normal,
}

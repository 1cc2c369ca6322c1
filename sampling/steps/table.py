"""One step of a sampler as a formula: predictors go from t down to t_next, correctors stay at t.

Every step is called `(z, score_fn, sde, x, t, t_next) -> Sample`: it receives its standard normal noise z [B, ...] and
calls the score function at most once. x is [B, ...], t and t_next are [B], with t_next < t. Two more predictors, for
few steps, are in `sampling.steps.solvers`; of those `heun` calls it twice.
"""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from sampling.base import Sample, Step
from sampling.steps.solvers import ddim, heun
from sde.base import SDE, ScoreFn
from sde.chain import DiscreteChain


def none() -> Step:
    """The step that stays where it is and asks no score; a predictor as well as a corrector."""

    def step(z: Array, score_fn: ScoreFn, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        return Sample(x, x)

    return step


def euler_maruyama(*, probability_flow: bool = False) -> Step:
    """Euler-Maruyama for the reverse SDE (drift r, diffusion g), or Euler for its probability-flow ODE.

    mean = x - r(x, t) dt,    x = mean + g(t) sqrt(dt) z,    dt = t - t_next

    Errors: ValueError for a tabulated SDE, which has no drift between its levels.
    Source: Song et al. 2021, equations 6 and 13.
    Notes: the published step is 1/N on a grid whose spacing is (1 - eps) / (N - 1); here it is that of the grid.
    """

    def step(z: Array, score_fn: ScoreFn, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        if isinstance(sde, DiscreteChain):
            raise ValueError("euler_maruyama needs an SDE in continuous time, such as the `limit` of this chain.")
        dt = t - t_next
        drift = sde.probability_flow if probability_flow else sde.reverse_drift
        mean = x - drift(score_fn, x, t) * broadcast_to_rank(dt, x)
        if probability_flow:
            return Sample(mean, mean)
        return Sample(mean + broadcast_to_rank(sde.diffusion(t) * jnp.sqrt(dt), x) * z, mean)

    return step


def reverse_diffusion(*, probability_flow: bool = False) -> Step:
    """The forward transition `x_t = x + f + G z` taken backwards, or its deterministic form with half the score.

    mean = x - f + G^2 score,    x = mean + G z,    f = (scale - 1) x,  (scale, G) = transition(t_next, t)

    Source: Song et al. 2021, equation 46, algorithms 2 and 3; appendix D.3 for the ODE.
    Notes: the published step for sub-VP is Euler-Maruyama's; here it is the transition, as for every SDE.
    """

    def step(z: Array, score_fn: ScoreFn, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        scale, std = sde.transition(t_next, t)
        weight = 0.5 if probability_flow else 1.0
        mean = x - broadcast_to_rank(scale - 1, x) * x + broadcast_to_rank(weight * std**2, x) * score_fn(x, t)
        return Sample(mean, mean) if probability_flow else Sample(mean + broadcast_to_rank(std, x) * z, mean)

    return step


def ancestral(*, variance: Literal["posterior", "transition"] = "posterior") -> Step:
    """The expectation of x at t_next given x at t, with noise of one of the two usual sizes.

    mean = (x + G^2 score) / scale,    (scale, G) = transition(t_next, t)
    x = mean + s z,    s = std(t_next) G / std(t)  for "posterior",    s = G  for "transition"

    "posterior" is the spread of x at t_next given x at t *and* the data, "transition" that of the forward step.
    Source: Song et al. 2021, equations 47 (SMLD: "posterior") and 4 (DDPM: "transition"); Ho et al. 2020, section 3.2.
    """
    if variance not in ("posterior", "transition"):
        raise ValueError(f"variance = {variance!r} is not one of 'posterior', 'transition'.")

    def step(z: Array, score_fn: ScoreFn, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        scale, std = sde.transition(t_next, t)
        mean = (x + broadcast_to_rank(std**2, x) * score_fn(x, t)) / broadcast_to_rank(scale, x)
        spread = sde.std(t_next) * std / sde.std(t) if variance == "posterior" else std
        return Sample(mean + broadcast_to_rank(spread, x) * z, mean)

    return step


def langevin(*, snr: float, norm: Literal["example", "batch"] = "example") -> Step:
    """One step of Langevin dynamics at time t, its size set by the signal-to-noise ratio `snr`.

    size = 2 alpha (snr |z| / |score|)^2,    alpha = (scale of the transition t_next -> t)^2
    mean = x + size score,    x = mean + sqrt(2 size) z

    `norm`: "example" takes the norms of each example by itself; "batch" averages |z| and |score| over the batch first.
    alpha is 1 for VE and 1 - beta_i for DDPM's chain. With the exact score of N(0, v I) the stationary variance is
    v (1 + alpha snr^2).
    Source: Song et al. 2021, algorithms 4 and 5.
    Notes: the published code has "batch" only, so that an image depends on its neighbours, and fails with sub-VP.
    """
    if norm not in ("example", "batch"):
        raise ValueError(f"norm = {norm!r} is not one of 'example', 'batch'.")

    def step(z: Array, score_fn: ScoreFn, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        score = score_fn(x, t)
        z_norm, score_norm = _norm(z), _norm(score)
        if norm == "batch":
            z_norm, score_norm = jnp.mean(z_norm), jnp.mean(score_norm)
        scale, _ = sde.transition(t_next, t)
        return _langevin(z, score, x, 2 * (scale * snr * z_norm / score_norm) ** 2)

    return step


def annealed_langevin(*, snr: float) -> Step:
    """One step of Langevin dynamics at time t, its size set by the noise of the marginal.

    size = 2 alpha (snr std(t))^2,    alpha = (scale of the transition t_next -> t)^2
    mean = x + size score,    x = mean + sqrt(2 size) z

    With the exact score of N(0, v I) the stationary variance is v / (1 - alpha snr^2 std(t)^2 / v).
    Source: Song and Ermon 2019, algorithm 1, in the form of Song et al. 2021, section 4.2.
    """

    def step(z: Array, score_fn: ScoreFn, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        scale, _ = sde.transition(t_next, t)
        return _langevin(z, score_fn(x, t), x, 2 * (scale * snr * sde.std(t)) ** 2)

    return step


def _norm(x: Array) -> Array:
    """Euclidean norm of each example: [B]."""
    return jnp.sqrt(jnp.sum(x**2, axis=tuple(range(1, x.ndim))))


def _langevin(z: Array, score: Array, x: Array, size: Array) -> Sample:
    """`mean = x + size score`, `x = mean + sqrt(2 size) z`; `size` is [B]."""
    mean = x + broadcast_to_rank(size, x) * score
    return Sample(mean + broadcast_to_rank(jnp.sqrt(2 * size), x) * z, mean)


# Published names. All of a table are made with the same keywords, of which each takes those that it has.
PREDICTORS: dict[str, Callable[..., Step]] = {
    "euler_maruyama": lambda *, probability_flow, **_: euler_maruyama(probability_flow=probability_flow),
    "reverse_diffusion": lambda *, probability_flow, **_: reverse_diffusion(probability_flow=probability_flow),
    "ancestral_sampling": lambda *, variance, **_: ancestral(variance=variance),
    "ddim": lambda *, eta, **_: ddim(eta=eta),
    "heun": lambda *, churn, **_: heun(churn=churn),
    "none": lambda **_: none(),
}
CORRECTORS: dict[str, Callable[..., Step]] = {
    "langevin": lambda *, snr, norm: langevin(snr=snr, norm=norm),
    "ald": lambda *, snr, norm: annealed_langevin(snr=snr),
    "none": lambda *, snr, norm: none(),
}

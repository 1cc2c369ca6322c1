"""Euler-Maruyama for the reverse-time SDE, and Euler for its probability-flow ODE."""

from collections.abc import Callable

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Predict
from sampling.base import Sample, Step
from sde.base import SDE

Diffusion = Callable[[SDE, Array], Array]  # (sde, t [B]) -> the factor w of dw while sampling [B]


def euler_maruyama(*, probability_flow: bool = False, diffusion: Diffusion | None = None) -> Step:
    """Euler-Maruyama for the reverse SDE (drift r, diffusion g), or Euler for its probability-flow ODE (drift v).

    mean = x - r(x, t) dt,    x = mean + g(t) sqrt(dt) z,    dt = t - t_next

    `diffusion`: another w in place of g, with the drift r = v + w^2 noise / (2 std); the marginals are the same for
    every w, and w = 0 is the ODE. Predicts once. Errors: ValueError for a chain, which has no drift between its levels.
    Source: Song et al. 2021, equations 6 and 13; Albergo et al., "Stochastic Interpolants", 2023, for any w.
    Notes: the published step is 1/N on a grid with spacing (1 - eps) / (N - 1); here dt is the spacing of the grid.
    """

    def step(z: Array, predict: Predict, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        if sde.is_discrete:
            raise ValueError("euler_maruyama needs an SDE in continuous time, such as the `limit` of this chain.")
        dt = t - t_next
        if probability_flow:
            mean = x - sde.probability_flow(predict, x, t) * broadcast_to_rank(dt, x)
            return Sample(mean, mean)
        if diffusion is None:
            w, drift = sde.diffusion(t), sde.reverse_drift(predict, x, t)
        else:
            w, prediction = diffusion(sde, t), predict(x, t)
            drift = sde.probability_flow(lambda x, t: prediction, x, t)
            drift = drift + broadcast_to_rank(w**2 / (2 * sde.std(t)), x) * prediction.noise
        mean = x - drift * broadcast_to_rank(dt, x)
        return Sample(mean + broadcast_to_rank(w * jnp.sqrt(dt), x) * z, mean)

    return step


# By name, from the scale; None: that of the SDE. Near the data, where std is small, `constant` needs short steps.
DIFFUSIONS: dict[str, Callable[[float], Diffusion | None]] = {
    "sde": lambda scale: None if scale == 1 else lambda sde, t: scale * sde.diffusion(t),
    "std": lambda scale: lambda sde, t: scale * sde.std(t),
    "constant": lambda scale: lambda sde, t: jnp.full_like(t, scale),
}

"""Euler-Maruyama for the reverse-time SDE, and Euler for its probability-flow ODE."""

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Predict
from sampling.base import Sample, Step
from sde.base import SDE


def euler_maruyama(*, probability_flow: bool = False) -> Step:
    """Euler-Maruyama for the reverse SDE (drift r, diffusion g), or Euler for its probability-flow ODE.

    mean = x - r(x, t) dt,    x = mean + g(t) sqrt(dt) z,    dt = t - t_next

    Predicts once. Errors: ValueError for a chain, which has no drift between its levels.
    Source: Song et al. 2021, equations 6 and 13.
    Notes: the published step is 1/N on a grid with spacing (1 - eps) / (N - 1); here dt is the spacing of the grid.
    """

    def step(z: Array, predict: Predict, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        if sde.is_discrete:
            raise ValueError("euler_maruyama needs an SDE in continuous time, such as the `limit` of this chain.")
        dt = t - t_next
        drift = sde.probability_flow if probability_flow else sde.reverse_drift
        mean = x - drift(predict, x, t) * broadcast_to_rank(dt, x)
        if probability_flow:
            return Sample(mean, mean)
        return Sample(mean + broadcast_to_rank(sde.diffusion(t) * jnp.sqrt(dt), x) * z, mean)

    return step

"""DDIM: a single-step solver of the probability-flow ODE that tolerates long steps, with optional noise."""

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Predict
from sampling.base import Sample, Step
from sde.base import SDE


def ddim(*, eta: float = 0.0) -> Step:
    """From the posterior mean of the data back to t_next, with `eta` times the noise of ancestral sampling.

    mean = m' x0 + sqrt(std'^2 - s^2) noise,    x = mean + s z,    s = eta std' G / std,
    (_, G) = transition(t_next, t),  m', std' at t_next

    eta = 0 is the first-order exponential integrator of the ODE (DPM-Solver-1), eta = 1 is `ancestral` ("posterior").
    For eta = 0 the step is a straight line in x / m and sigma = std / m, so it needs only `mean_coeff` and `std`.
    Predicts once. Errors: ValueError for eta outside [0, 1].
    Source: Song et al., "Denoising Diffusion Implicit Models", ICLR 2021, equations 12 and 16, for any SDE.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta = {eta}, but it must be in [0, 1]: 0 follows the ODE, 1 is ancestral sampling.")

    def step(z: Array, predict: Predict, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        x0, noise = predict(x, t)
        _, transition_std = sde.transition(t_next, t)
        spread = eta * sde.std(t_next) * transition_std / sde.std(t)
        rest = jnp.sqrt(jnp.maximum(sde.std(t_next) ** 2 - spread**2, 0.0))  # rounding, for eta = 1 at the prior
        mean = broadcast_to_rank(sde.mean_coeff(t_next), x) * x0 + broadcast_to_rank(rest, x) * noise
        return Sample(mean + broadcast_to_rank(spread, x) * z, mean)

    return step

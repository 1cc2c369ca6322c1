"""Langevin dynamics at a fixed time, with two rules for the step size. Correctors of the sampling loop."""

from typing import Literal

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Predict, score_of
from sampling.base import Sample, Step
from sde.base import SDE


def langevin(*, snr: float, norm: Literal["example", "batch"] = "example") -> Step:
    """One step of Langevin dynamics at time t, with a step size set by the signal-to-noise ratio `snr`.

    size = 2 alpha (snr |z| / |score|)^2,    alpha = (scale of the transition t_next -> t)^2
    mean = x + size score,    x = mean + sqrt(2 size) z

    `norm`: "example" uses the norms of each example; "batch" averages |z| and |score| over the batch first.
    alpha is 1 for VE and 1 - beta_i for DDPM's chain. With the exact score of N(0, v I) the stationary variance is
    v (1 + alpha snr^2). Predicts once. Errors: ValueError for another `norm`.
    Source: Song et al. 2021, algorithms 4 and 5.
    Notes: the published code has only "batch", which makes an image depend on the rest of its batch, and fails for
    sub-VP.
    """
    if norm not in ("example", "batch"):
        raise ValueError(f"norm = {norm!r} is not one of 'example', 'batch'.")

    def step(z: Array, predict: Predict, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        score = score_of(predict(x, t), sde, t)
        z_norm, score_norm = _norm(z), _norm(score)
        if norm == "batch":
            z_norm, score_norm = jnp.mean(z_norm), jnp.mean(score_norm)
        scale, _ = sde.transition(t_next, t)
        return _langevin(z, score, x, 2 * (scale * snr * z_norm / score_norm) ** 2)

    return step


def annealed_langevin(*, snr: float) -> Step:
    """One step of Langevin dynamics at time t, with a step size set by the noise of the marginal.

    size = 2 alpha (snr std(t))^2,    alpha = (scale of the transition t_next -> t)^2
    mean = x + size score,    x = mean + sqrt(2 size) z

    With the exact score of N(0, v I) the stationary variance is v / (1 - alpha snr^2 std(t)^2 / v). Predicts once.
    Source: Song and Ermon 2019, algorithm 1, in the form of Song et al. 2021, section 4.2.
    """

    def step(z: Array, predict: Predict, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        scale, _ = sde.transition(t_next, t)
        return _langevin(z, score_of(predict(x, t), sde, t), x, 2 * (scale * snr * sde.std(t)) ** 2)

    return step


def _norm(x: Array) -> Array:
    """Euclidean norm of each example: [B]."""
    return jnp.sqrt(jnp.sum(x**2, axis=tuple(range(1, x.ndim))))


def _langevin(z: Array, score: Array, x: Array, size: Array) -> Sample:
    """`mean = x + size score`, `x = mean + sqrt(2 size) z`; `size` is [B]."""
    mean = x + broadcast_to_rank(size, x) * score
    return Sample(mean + broadcast_to_rank(jnp.sqrt(2 * size), x) * z, mean)

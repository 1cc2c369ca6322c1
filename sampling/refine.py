"""Refinement: a forecast that someone else made, moved to where the model finds the whole example likely."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from core.keys import SampleKey, draw_normal, fold_in
from corruption.gaussian import GaussianNoise
from corruption.predictions import Predict
from sde.base import SDE

Energy = Callable[[Array, Array], Array]  # (keys [B], x [B, ...]) -> energy [B]
Pull = Literal["mean_square", "quantile"]
PULLS: tuple[Pull, ...] = ("mean_square", "quantile")


def loss_energy(sde: SDE, predict: Predict, t: float) -> Energy:
    """The denoising loss at time t with fresh noise: `E(x) = 1/2 |noise(m x + std z, t) - z|^2`, [B].

    Source: Kollovieh et al. (see `refine`), equation 9, with the sum over the example in place of the mean.
    """
    process = GaussianNoise(sde)

    def energy(keys: Array, x: Array) -> Array:
        times = jnp.full(x.shape[:1], t)
        noisy, target = process.corrupt(keys, x, times)
        error = process.error(predict(noisy, times), target, times)
        return 0.5 * jnp.sum(error**2, axis=tuple(range(1, x.ndim)))

    return energy


def refine(
    energy: Energy,
    keys: Array,
    base: Array,
    free: Array,
    *,
    pull: Pull = "mean_square",
    weight: float = 1.0,
    level: Array | float = 0.5,
    num_steps: int = 20,
    step_size: float = 0.1,
    temperature: float = 0.0,
) -> Array:
    """Gradient descent from `base` [B, ...] on the energy and a pull to `base`; Langevin dynamics with a temperature.

        x <- x - h grad [E(x) + weight R(x)] + sqrt(2 h temperature) z,    h = step_size
        R(x) = 1/2 |x - base|^2                                              "mean_square"
        R(x) = sum_i max(level e_i, (level - 1) e_i),    e = base - x        "quantile"

    free: where x may change, broadcastable to `base`; elsewhere it stays, and R has no part of it. level: of the
    quantile, a number or [B], see `observation_guidance`. Langevin dynamics sample exp(-(E + weight R) / temperature)
    for small steps. Errors: ValueError for another `pull`.
    Source: Kollovieh et al., "Predict, Refine, Synthesize", NeurIPS 2023, section 3.3.
    Notes: in the published code the pull of the squares is that of the observed values, which leaves the forecast free,
    and that of the quantiles is over the whole window. Here what is observed cannot change at all.
    """
    if pull not in PULLS:
        raise ValueError(f"pull = {pull!r} is not one of {', '.join(map(repr, PULLS))}.")
    q = broadcast_to_rank(jnp.asarray(level), base)

    def total(x: Array, keys: Array) -> Array:
        e = base - x
        pulled = 0.5 * e**2 if pull == "mean_square" else jnp.maximum(q * e, (q - 1) * e)
        return jnp.sum(energy(keys, x)) + weight * jnp.sum(jnp.where(free, pulled, 0.0))

    def step(k: int | Array, x: Array) -> Array:
        own = fold_in(fold_in(keys, SampleKey.STEPS), k)
        slope = jax.grad(total)(x, fold_in(own, 1))
        spread = (2 * step_size * temperature) ** 0.5 * draw_normal(fold_in(own, 0), x.shape)
        return jnp.where(free, x - step_size * slope + spread, x)

    return jax.lax.fori_loop(0, num_steps, step, base)

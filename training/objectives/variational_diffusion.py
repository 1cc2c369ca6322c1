"""Variational diffusion: the bound on the log-probability of levels as a loss, and the gradient of a schedule."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.keys import ExampleKey, draw_normal, fold_in
from corruption.gaussian import GaussianNoise
from corruption.levels import rate_nats, reconstruction_nats
from corruption.paths import Conditioned, straight
from sde.base import SDE
from training.objectives.base import Batch, Objective, Params, Prepare, Terms, Variables
from training.objectives.score_matching import PredictOf, SampleTimes

# (params, t [B]) -> shape and slope [B] of a map of times, and its ends: `models.heads.schedule.Schedule`
ScheduleOf = Callable[[Params, Array], Any]
ConditionedOf = Callable[[Params, Batch, Array, Array, Array | None], Conditioned]  # (params, batch, x0, keys, dropout)


def without_latent(predict_of: PredictOf) -> ConditionedOf:
    """A model without latents, in which all numbers of an example have the same time."""
    return lambda params, batch, x0, keys, dropout_key: Conditioned(predict_of(params, batch, dropout_key), straight)


def variational_diffusion(
    conditioned_of: ConditionedOf,
    sde: SDE,
    prepare: Prepare,
    sample_times: SampleTimes,
    schedule_of: ScheduleOf,
    levels: Array,
    *,
    learned: bool = True,
) -> Objective:
    """The objective with the loss "bound": the bound of `corruption.levels` in bits per dimension, at one time each.

        L(t) = (last - first) slope(t) rate_nats(first + (last - first) shape(t)),   t uniform in [0, 1)

    The network and the ends of the schedule follow the gradient of the bound. Its shape has no influence on the mean of
    L over t, only on its variance: it follows the gradient of E[L^2], which is all that reaches its parameters.
    learned: whether the schedule has parameters; without them, nothing is differentiated by the shape.
    conditioned_of: the model given a latent of each example, whose cost is one more term, and on which the times of
    single numbers may depend; these follow the gradient of the bound, which depends on the path between the ends.
    Metrics: the terms, and the mean of L^2, in bits per dimension.
    Source: Kingma et al., NeurIPS 2021, section 5.1 and appendix I.2. Errors: ValueError for data with missing values.
    """

    def objective(variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array) -> Terms:
        if "x_mask" in batch:
            raise ValueError(
                "The data have missing values (x_mask), which the bound on the probability of levels does not leave "
                "out; unset config.training.noise_schedule."
            )
        params = variables["params"]
        x0 = prepare(fold_in(keys, ExampleKey.DATA), batch)
        t, _ = sample_times(fold_in(keys, ExampleKey.TIME))
        z = draw_normal(fold_in(keys, ExampleKey.NOISE), x0.shape)
        shape, slope, first, last = schedule_of(params, t)
        ones, unit = jnp.ones_like(t), math.prod(x0.shape[1:]) * math.log(2)
        still = jax.lax.stop_gradient

        def diffusion(params: Params, shape: Array) -> Array:
            predict, path, _ = conditioned_of(params, batch, x0, keys, dropout_key)
            where, pace = path(shape)
            s = first + (last - first) * where
            return (last - first) * still(slope) * rate_nats(predict, sde, x0, s, z, pace) / unit

        L = diffusion(params, still(shape))
        prior = GaussianNoise(sde).prior_nats(x0, last * ones) / unit
        noise = draw_normal(fold_in(keys, ExampleKey.DECODER), x0.shape)
        reconstruction = reconstruction_nats(sde, x0, first * ones, noise, levels) / unit
        terms = {"prior": prior, "diffusion": L, "reconstruction": reconstruction, "diffusion_squared": L**2}
        latent = conditioned_of(params, batch, x0, keys, dropout_key).nats / unit
        terms |= {"latent": latent} if isinstance(latent, jax.Array) else {}
        bound = prior + L + reconstruction + latent
        if learned:
            _, change = jax.jvp(lambda shape: diffusion(still(params), shape), (still(shape),), (ones,))
            square = 2 * still(L * change) * shape + 2 * still(L**2 / slope) * slope  # has the gradient of L^2
            bound = bound + square - still(square)
        return Terms({"bound": bound}, {name: jnp.mean(values) for name, values in terms.items()})

    return objective

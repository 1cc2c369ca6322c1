"""Denoising score matching."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sde.base import SDE, Array, ScoreFn, draw_normal, example_keys, expand, fold
from sde.discrete import Tabulated

Params = Any
Batch = dict[str, Any]
Metrics = dict[str, Array]
LossFn = Callable[[Params, Array, Batch], tuple[Array, Metrics]]
ScoreOf = Callable[[Params, Batch, Array | None], ScoreFn]  # (params, batch, dropout key or None) -> score function
Prepare = Callable[[Array, Batch], Array]  # (keys [B], batch as loaded) -> x0 [B, ...], the scaled data
# keys [B] -> times [B] and their importance weights [B], density of uniform times over the density drawn from
DrawTimes = Callable[[Array], tuple[Array, Array]]
PerExampleLoss = Callable[[Params, Array, Batch, Array | None], Array]

# What a key is for: tags folded into an example's key, and into that of a step.
_DATA, _TIME, _NOISE = range(3)
_EXAMPLES, _DROPOUT = range(2)


def denoising_score_matching(
    score_fn: ScoreFn, sde: SDE, x0: Array, t: Array, z: Array, *, likelihood_weighting: bool, reduce_mean: bool
) -> Array:
    """The loss of each example, [B].

        variance weighting     || std(t) score + z ||^2
        likelihood weighting   diffusion(t)^2 || score + z / std(t) ||^2        at x_t = mean_coeff(t) x0 + std(t) z

    Data `x0` [B, ...], times `t` [B], Gaussian noise `z` [B, ...]. The norm is a mean over dimensions
    (`reduce_mean`) or half their sum.
    Source: Song et al. 2021, equation 7; likelihood weighting: Song et al., NeurIPS 2021, theorem 1.
    """
    score = score_fn(sde.perturb(x0, t, z), t)
    std = expand(sde.std(t), x0)
    if likelihood_weighting:
        squares = expand(sde.diffusion(t) ** 2, x0) * (score + z / std) ** 2
    else:
        squares = (std * score + z) ** 2
    axes = tuple(range(1, x0.ndim))
    return jnp.mean(squares, axis=axes) if reduce_mean else 0.5 * jnp.sum(squares, axis=axes)


def uniform_times(eps: float) -> DrawTimes:
    """Times uniform in [eps, 1]."""
    draw = jax.vmap(lambda key: jax.random.uniform(key, (), minval=eps, maxval=1.0))
    return lambda keys: (draw(keys), jnp.ones(keys.shape))


def log_snr_times(sde: SDE, eps: float) -> DrawTimes:
    """Times whose log signal-to-noise ratio is uniform: the best ones for the likelihood weighting.

    lambda(t) = ln(mean_coeff^2 / std^2),   density = -lambda'(t) / (lambda(eps) - lambda(1)),   -lambda' = g^2 / std^2

    The importance weight makes the likelihood-weighted loss a constant times || std score + z ||^2, whose variance is
    far smaller than with uniform times; the expectation is that of uniform times.
    Source: Song et al., NeurIPS 2021, section 4.1; Kingma et al., NeurIPS 2021, section 4.
    """
    table = jnp.geomspace(eps, 1.0, 4096)
    log_snr = 2 * jnp.log(sde.mean_coeff(table) / sde.std(table))  # decreasing

    def draw(keys: Array) -> tuple[Array, Array]:
        at = jax.vmap(lambda key: jax.random.uniform(key, (), minval=log_snr[-1], maxval=log_snr[0]))(keys)
        t = jnp.interp(at, log_snr[::-1], table[::-1])
        density = (sde.diffusion(t) / sde.std(t)) ** 2 / (log_snr[0] - log_snr[-1])
        return t, 1 / ((1 - eps) * density)

    return draw


def level_times(chain: Tabulated) -> DrawTimes:
    """The times of levels uniform in 0 ... N - 1: with them the loss is that of SMLD and of DDPM.

    Source: Song et al. 2021, equations 1 and 3.
    """
    draw = jax.vmap(lambda key: jax.random.randint(key, (), 0, chain.num_scales))
    return lambda keys: (chain.time(draw(keys)), jnp.ones(keys.shape))


def make_per_example_loss(
    score_of: ScoreOf,
    sde: SDE,
    prepare: Prepare,
    draw_times: DrawTimes,
    *,
    likelihood_weighting: bool,
    reduce_mean: bool,
) -> PerExampleLoss:
    """`loss(params, keys [B], batch, dropout_key) -> [B]`; an example's time and noise come from its own key."""

    def loss(params: Params, keys: Array, batch: Batch, dropout_key: Array | None) -> Array:
        x0 = prepare(fold(keys, _DATA), batch)
        t, weight = draw_times(fold(keys, _TIME))
        z = draw_normal(fold(keys, _NOISE), x0.shape)
        score_fn = score_of(params, batch, dropout_key)
        return weight * denoising_score_matching(
            score_fn, sde, x0, t, z, likelihood_weighting=likelihood_weighting, reduce_mean=reduce_mean
        )

    return loss


def make_loss_fn(per_example: PerExampleLoss) -> LossFn:
    """The mean over the batch, with dropout: all that the trainer knows. Example i takes `fold_in(key, i)`."""

    def loss_fn(params: Params, key: Array, batch: Batch) -> tuple[Array, Metrics]:
        keys = example_keys(fold(key, _EXAMPLES), batch["x"].shape[0])
        loss = jnp.mean(per_example(params, keys, batch, fold(key, _DROPOUT)))
        return loss, {"loss": loss}

    return loss_fn

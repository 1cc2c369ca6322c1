"""Distributions of training times, as quantile functions: from u uniform in [0, 1) to a time and its importance weight.

The weight is the density of times uniform in [eps, 1] divided by the density of the distribution, so that the
expectation of `weight * f(t)` is that of `f` over uniform times. Quantile functions allow stratified sampling of u.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from core.arrays import Array
from sde.base import SDE

Time = TypeVar("Time", float, Array)
Quantile = Callable[[Array], tuple[Array, Array]]  # u [B] -> times [B], importance weights [B]


def uniform(eps: float) -> Quantile:
    """Times uniform in [eps, 1]."""
    return lambda u: (eps + u * (1 - eps), jnp.ones_like(u))


def levels(chain: SDE) -> Quantile:
    """Times of levels uniform in 0 ... N - 1, as for SMLD and DDPM.

    Source: Song et al. 2021, equations 1 and 3. Errors: ValueError for an SDE in continuous time, when called.
    """

    def quantile(u: Array) -> tuple[Array, Array]:
        level = jnp.minimum((u * chain.num_scales).astype(jnp.int32), chain.num_scales - 1)
        return chain.time(level), jnp.ones_like(u)

    return quantile


def log_snr(sde: SDE, eps: float) -> Quantile:
    """Times in [eps, 1] with a uniform log signal-to-noise ratio: the best choice for the likelihood weighting.

        lambda(t) = ln(mean_coeff^2 / std^2),  density = -lambda' / (lambda(eps) - lambda(1)),  -lambda' = g^2 / std^2

    The likelihood-weighted loss is then a constant times || std score + z ||^2, whose variance is far smaller than with
    uniform times. Source: Song et al., NeurIPS 2021, section 4.1; Kingma et al., NeurIPS 2021, section 4.
    """
    table, ratios = _table(sde, eps)

    def quantile(u: Array) -> tuple[Array, Array]:
        t = jnp.interp(ratios[0] + u * (ratios[-1] - ratios[0]), ratios, table)
        density = (sde.diffusion(t) / sde.std(t)) ** 2 / (ratios[-1] - ratios[0])
        return t, 1 / ((1 - eps) * density)

    return quantile


def log_normal(sde: SDE, eps: float, *, mean: float = -1.2, std: float = 1.2) -> Quantile:
    """EDM's times: `ln sigma ~ N(mean, std^2)` for sigma = std(t) / mean_coeff(t), clipped to [eps, 1].

    The weight is 1, because this distribution is part of EDM's objective. Source: Karras et al., NeurIPS 2022, table 1.
    """
    table, ratios = _table(sde, eps)

    def quantile(u: Array) -> tuple[Array, Array]:
        log_sigma = mean + std * ndtri(jnp.clip(u, 1e-6, 1 - 1e-6))
        return jnp.interp(-2 * log_sigma, ratios, table), jnp.ones_like(u)

    return quantile


def logit_normal(eps: float, *, mean: float = 0.0, std: float = 1.0) -> Quantile:
    """`ln(t / (1 - t)) ~ N(mean, std^2)`, clipped to [eps, 1]: fewer times near both ends. The weight is 1.

    On the linear path sigma = t / (1 - t), so that this is `log_normal` there; a mean of -1.2 is the "skewed" choice of
    Lipman et al., "Flow Matching Guide and Code", 2024. Source: Esser et al., ICML 2024, equation 19.
    """

    def quantile(u: Array) -> tuple[Array, Array]:
        t = jax.nn.sigmoid(mean + std * ndtri(jnp.clip(u, 1e-6, 1 - 1e-6)))
        return jnp.clip(t, eps, 1.0), jnp.ones_like(u)

    return quantile


def mode(eps: float, *, scale: float = 0.8) -> Quantile:
    """`t = 1 - v - scale (cos^2(pi v / 2) - 1 + v)`, v = 1 - u, clipped to [eps, 1]: heavier tails. The weight is 1.

    A positive scale, up to 1.75, favors the middle; a negative one, down to -1, both ends; 0 is uniform.
    Source: Esser et al., ICML 2024, equation 20, in increasing order of t.
    """

    def quantile(u: Array) -> tuple[Array, Array]:
        t = u - scale * (jnp.sin(0.5 * jnp.pi * u) ** 2 - u)
        return jnp.clip(t, eps, 1.0), jnp.ones_like(u)

    return quantile


def resolution_shift(size: int, base: int) -> float:
    """`alpha = sqrt(size / base)`: how much times shift for data of `size` numbers instead of `base`.

    An average over n equally noisy pixels has a signal-to-noise ratio that is sqrt(n) times as large, and the shift of
    `shifted` undoes that on the linear path. Source: Esser et al., ICML 2024, section 5.3.2.
    """
    return math.sqrt(size / base)


def shift(t: Time, alpha: float) -> Time:
    """`alpha t / (1 + (alpha - 1) t)`, which multiplies t / (1 - t) by alpha.

    Source: Esser et al., ICML 2024, equation 23.
    """
    return alpha * t / (1 + (alpha - 1) * t)


def shifted(quantile: Quantile, alpha: float) -> Quantile:
    """The times of `quantile`, shifted, with its weights: the shift is part of the objective."""

    def of(u: Array) -> tuple[Array, Array]:
        t, weight = quantile(u)
        return jnp.minimum(shift(t, alpha), 1.0), weight

    return of


def _table(sde: SDE, eps: float) -> tuple[Array, Array]:
    """Times from 1 down to eps, and their increasing log signal-to-noise ratios: [K] each."""
    table = sde.dense_times(eps)
    return table, 2 * jnp.log(sde.mean_coeff(table) / sde.std(table))

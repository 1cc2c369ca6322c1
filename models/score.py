"""Parameterisations: how a network is told the time, and how its output becomes a score.

    score(x, t) = output(sde, t, network(x, time(sde, t), cond))

A network is any function of an image-like x [B, ...], a time [B] and a condition (a tree or None).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sde.base import SDE, ScoreFn, expand
from sde.discrete import Tabulated

Array = jax.Array
Network = Callable[[Array, Array, Any], Array]  # (x [B, ...], time [B], cond) -> [B, ...]
TimeFn = Callable[[SDE, Array], Array]  # (sde, t [B]) -> what the network gets as its time [B]
OutputFn = Callable[[SDE, Array, Array], Array]  # (sde, t [B], network output [B, ...]) -> score [B, ...]


def scaled_time(scale: float) -> TimeFn:
    """`scale t`. Published: 999 t for continuous VP and sub-VP, (N - 1) t, not rounded, for DDPM's chain."""

    def time(sde: SDE, t: Array) -> Array:
        return scale * t

    return time


def noise_level(sde: SDE, t: Array) -> Array:
    """`std(t)`, the sigma that a Fourier embedding takes the logarithm of. Published: continuous VE."""
    return sde.std(t)


def descending_level(sde: SDE, t: Array) -> Array:
    """`N - 1 - level(t)`, int32: 0 is the most noise. Published: SMLD's ladder.

    Errors: ValueError for an SDE without levels.
    Notes: published as round((1 - t)(N - 1)), which is the same on the published grid of times; counted from the level
    whose std the SDE uses, it also names the right one between grid points.
    """
    if not isinstance(sde, Tabulated):
        raise ValueError(f"A level of noise exists for a tabulated SDE only, not for {type(sde).__name__}.")
    return sde.num_scales - 1 - jnp.maximum(sde.index(t), 0)


def noise(sde: SDE, t: Array, out: Array) -> Array:
    """The network predicts the noise of `x = mean_coeff x_0 + std z`: `score = -out / std`. Published: VP, sub-VP."""
    return -out / expand(sde.std(t), out)


def score(sde: SDE, t: Array, out: Array) -> Array:
    """The network predicts the score itself. Published: VE."""
    return out


def make_score_fn(network: Network, sde: SDE, time: TimeFn, output: OutputFn, cond: Any = None) -> ScoreFn:
    """The score function `(x [B, ...], t [B]) -> [B, ...]` of a network, with its condition bound."""

    def score_fn(x: Array, t: Array) -> Array:
        return output(sde, t, network(x, time(sde, t), cond))

    return score_fn


OUTPUTS: dict[str, OutputFn] = {"noise": noise, "score": score}

"""Parameterizations: how a network receives the time, and how its output becomes a score.

    score(x, t) = output(sde, x, t, network(scale_input(sde, x, t), time(sde, t), cond))

A network is any function of x [B, ...], a time [B] and a condition (a pytree or None).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from sde.base import SDE, ScoreFn

Network = Callable[[Array, Array, Any], Array]  # (x [B, ...], time [B], cond) -> [B, ...]
TimeFn = Callable[[SDE, Array], Array]  # (sde, t [B]) -> time input of the network [B]
OutputFn = Callable[[SDE, Array, Array, Array], Array]  # (sde, x, t [B], network output [B, ...]) -> score [B, ...]
InputFn = Callable[[SDE, Array, Array], Array]  # (sde, x [B, ...], t [B]) -> input of the network


def same_input(sde: SDE, x: Array, t: Array) -> Array:
    """x itself is the input of the network."""
    return x


class Parameterization(NamedTuple):
    """How the output of a network becomes a score, and how its input is scaled."""

    output: OutputFn
    scale_input: InputFn = same_input


def scaled_time(scale: float) -> TimeFn:
    """`scale t`. Published: 999 t for continuous VP and sub-VP, (N - 1) t, not rounded, for DDPM's chain."""

    def time(sde: SDE, t: Array) -> Array:
        return scale * t

    return time


def noise_level(sde: SDE, t: Array) -> Array:
    """`std(t)`: the noise level, whose logarithm the Fourier embedding uses. Published: continuous VE."""
    return sde.std(t)


def descending_level(sde: SDE, t: Array) -> Array:
    """`N - 1 - level(t)`, int32: 0 is the most noise. Published: SMLD's chain.

    Errors: ValueError for an SDE in continuous time, which has no levels.
    Notes: published as round((1 - t)(N - 1)), which is the same on the published grid of times. Derived from the level
    whose std the SDE uses, it is also correct between grid points.
    """
    return sde.num_scales - 1 - jnp.maximum(sde.index(t), 0)


def noise(sde: SDE, x: Array, t: Array, out: Array) -> Array:
    """The network predicts the noise z of `x = mean_coeff x_0 + std z`: `score = -out / std`. Published: VP, sub-VP."""
    return -out / broadcast_to_rank(sde.std(t), out)


def score(sde: SDE, x: Array, t: Array, out: Array) -> Array:
    """The network predicts the score itself. Published: VE."""
    return out


def data(sde: SDE, x: Array, t: Array, out: Array) -> Array:
    """The network predicts the data x_0: `score = (mean_coeff out - x) / std^2`."""
    return (broadcast_to_rank(sde.mean_coeff(t), x) * out - x) / broadcast_to_rank(sde.std(t) ** 2, x)


def velocity(sde: SDE, x: Array, t: Array, out: Array) -> Array:
    """The network predicts v, the derivative of x / a along the circle of data and noise, a^2 = mean_coeff^2 + std^2.

        v = c z - d x_0,   z = c v + d x / a,   score = -z / std;     c = mean_coeff / a,  d = std / a

    Source: Salimans and Ho, ICLR 2022, appendix D, where a = 1; dividing by a extends it to every SDE.
    """
    mean, std = broadcast_to_rank(sde.mean_coeff(t), x), broadcast_to_rank(sde.std(t), x)
    squared = mean**2 + std**2
    return -(mean / jnp.sqrt(squared) * out + std / squared * x) / std


def preconditioned(sigma_data: float) -> Parameterization:
    """EDM's: input and output of the network have unit variance; it predicts a mixture of data and noise.

        sigma = std / mean_coeff,  x^ = x / mean_coeff,  D = c_skip x^ + c_out out,  score = (mean_coeff D - x) / std^2
        c_skip = s^2 / (sigma^2 + s^2),   c_out = sigma s / sqrt(sigma^2 + s^2),   c_in = 1 / sqrt(sigma^2 + s^2)

    `sigma_data` is s, the standard deviation of the data. Source: Karras et al., NeurIPS 2022, table 1.
    Notes: computed without cancellation as `(D - x^) / sigma = (s out - sigma c_in x^) c_in`.
    """

    def parts(sde: SDE, x: Array, t: Array) -> tuple[Array, Array, Array]:
        mean = broadcast_to_rank(sde.mean_coeff(t), x)
        sigma = broadcast_to_rank(sde.std(t), x) / mean
        return mean, sigma, 1 / jnp.sqrt(sigma**2 + sigma_data**2)

    def scale_input(sde: SDE, x: Array, t: Array) -> Array:
        mean, _, c_in = parts(sde, x, t)
        return c_in * x / mean

    def output(sde: SDE, x: Array, t: Array, out: Array) -> Array:
        mean, sigma, c_in = parts(sde, x, t)
        minus_noise = (sigma_data * out - sigma * c_in * x / mean) * c_in
        return minus_noise / (mean * sigma)

    return Parameterization(output, scale_input)


def make_score_fn(
    network: Network, sde: SDE, time: TimeFn, parameterization: Parameterization, cond: Any = None
) -> ScoreFn:
    """The score function `(x [B, ...], t [B]) -> [B, ...]` of a network, conditioned on `cond`."""
    output, scale_input = parameterization

    def score_fn(x: Array, t: Array) -> Array:
        return output(sde, x, t, network(scale_input(sde, x, t), time(sde, t), cond))

    return score_fn


NOISE, SCORE, DATA, VELOCITY = map(Parameterization, (noise, score, data, velocity))
PARAMETERIZATIONS: dict[str, Callable[[float], Parameterization]] = {
    "noise": lambda sigma_data: NOISE,
    "score": lambda sigma_data: SCORE,
    "data": lambda sigma_data: DATA,
    "velocity": lambda sigma_data: VELOCITY,
    "edm": preconditioned,
}

"""Parameterizations: how a network receives the time, and how its output becomes a prediction.

    prediction(x, t) = output(sde, x, t, network(scale_input(sde, x, t), time(sde, t), cond))

Both fields of a prediction, x0 and the noise, are computed directly from x and the output of the network, each without
dividing by a small coefficient where the network's output allows it. A field that has to be divided by mean_coeff or
by std is as uncertain as its inputs: half a unit in the last place of x or of the output becomes that, divided.

A network is any function of x [B, ...], a time [B] and a condition (a pytree or None).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Gaussian, Predict, PredictBetween
from sde.base import SDE

Network = Callable[[Array, Array, Any], Array]  # (x [B, ...], time [B], cond) -> [B, ...]
TimeFn = Callable[[SDE, Array], Array]  # (sde, t [B]) -> time input of the network [B]
OutputFn = Callable[[SDE, Array, Array, Array], Gaussian]  # (sde, x, t [B], network output [B, ...]) -> prediction
InputFn = Callable[[SDE, Array, Array], Array]  # (sde, x [B, ...], t [B]) -> input of the network


def same_input(sde: SDE, x: Array, t: Array) -> Array:
    """x itself is the input of the network."""
    return x


class Parameterization(NamedTuple):
    """How the output of a network becomes a prediction, and how its input is scaled."""

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


def noise(sde: SDE, x: Array, t: Array, out: Array) -> Gaussian:
    """The network predicts the noise z of `x = mean_coeff x_0 + std z`. Published: VP, sub-VP.

    x0 = (x - std out) / mean_coeff,   noise = out

    Notes: at large noise x and std z are nearly equal, so x0 has the rounding error of both, divided by mean_coeff.
    """
    mean, std = _coefficients(sde, x, t)
    return Gaussian((x - std * out) / mean, out)


def score(sde: SDE, x: Array, t: Array, out: Array) -> Gaussian:
    """The network predicts the score itself: `noise = -std out`, and x0 as for `noise`. Published: VE."""
    return noise(sde, x, t, -broadcast_to_rank(sde.std(t), x) * out)


def data(sde: SDE, x: Array, t: Array, out: Array) -> Gaussian:
    """The network predicts the data x_0.

    x0 = out,   noise = (x - mean_coeff out) / std

    Notes: at little noise x and mean_coeff x_0 are nearly equal, so the noise has the rounding error of both, divided
    by std.
    """
    mean, std = _coefficients(sde, x, t)
    return Gaussian(out, (x - mean * out) / std)


def velocity(sde: SDE, x: Array, t: Array, out: Array) -> Gaussian:
    """The network predicts v, the derivative of x / a along the circle of data and noise, a^2 = mean_coeff^2 + std^2.

        v = c z - d x_0,   x0 = c x / a - d v,   noise = c v + d x / a;     c = mean_coeff / a,  d = std / a

    Source: Salimans and Ho, ICLR 2022, appendix D, where a = 1; dividing by a extends it to every SDE.
    """
    mean, std = _coefficients(sde, x, t)
    a = jnp.sqrt(mean**2 + std**2)
    c, d, y = mean / a, std / a, x / a
    return Gaussian(c * y - d * out, c * out + d * y)


def flow(sde: SDE, x: Array, t: Array, out: Array) -> Gaussian:
    """The network predicts u = z - x_0, the velocity of the straight line from data to noise (flow matching).

    x0 = (x - std u) / (mean_coeff + std),   noise = (x + mean_coeff u) / (mean_coeff + std)

    `velocity` is the same on a circle, with coefficients c and d: u = (c + d) v - (c - d) x / a.
    Source: Lipman et al., ICLR 2023, for mean_coeff + std = 1; dividing by the sum extends it to every SDE.
    """
    mean, std = _coefficients(sde, x, t)
    return Gaussian((x - std * out) / (mean + std), (x + mean * out) / (mean + std))


def preconditioned(sigma_data: float) -> Parameterization:
    """EDM's: input and output of the network have unit variance; it predicts a mixture of data and noise.

        sigma = std / mean_coeff,  x^ = x / mean_coeff,  x0 = c_skip x^ + c_out out,  noise = (x^ - x0) / sigma
        c_skip = s^2 / (sigma^2 + s^2),   c_out = sigma s / sqrt(sigma^2 + s^2),   c_in = 1 / sqrt(sigma^2 + s^2)

    `sigma_data` is s, the standard deviation of the data. Source: Karras et al., NeurIPS 2022, table 1.
    Notes: the noise is computed without cancellation, as `(sigma c_in x^ - s out) c_in`.
    """

    def parts(sde: SDE, x: Array, t: Array) -> tuple[Array, Array, Array]:
        mean, std = _coefficients(sde, x, t)
        sigma = std / mean
        c_in = 1 / jnp.sqrt(sigma**2 + sigma_data**2)
        return c_in * x / mean, sigma, c_in

    def scale_input(sde: SDE, x: Array, t: Array) -> Array:
        return parts(sde, x, t)[0]

    def output(sde: SDE, x: Array, t: Array, out: Array) -> Gaussian:
        scaled, sigma, c_in = parts(sde, x, t)
        x0 = sigma_data * c_in * (sigma_data * scaled + sigma * out)
        return Gaussian(x0, (sigma * scaled - sigma_data * out) * c_in)

    return Parameterization(output, scale_input)


def make_predict(
    network: Network, sde: SDE, time: TimeFn, parameterization: Parameterization, cond: Any = None
) -> Predict:
    """The prediction `(x [B, ...], t [B]) -> Gaussian` of a network, conditioned on `cond`.

    With a time for each number, t [B, ...], the network receives their mean.
    """
    output, scale_input = parameterization

    def predict(x: Array, t: Array) -> Gaussian:
        mean = jnp.mean(t, axis=tuple(range(1, t.ndim))) if t.ndim > 1 else t
        return output(sde, x, t, network(scale_input(sde, x, t), time(sde, mean), cond))

    return predict


def make_predict_between(
    network: Network, sde: SDE, time: TimeFn, parameterization: Parameterization
) -> PredictBetween:
    """`(x [B, ...], t [B], r [B] = t) -> Gaussian` of a network that is conditioned on the interval t - r [B].

    The velocity `noise - x0` of the prediction is the average over the times from r to t.
    """

    def predict(x: Array, t: Array, r: Array | None = None) -> Gaussian:
        interval = jnp.zeros_like(t) if r is None else t - r
        return make_predict(network, sde, time, parameterization, interval)(x, t)

    return predict


def _coefficients(sde: SDE, x: Array, t: Array) -> tuple[Array, Array]:
    """mean_coeff and std at times t [B], broadcastable to x [B, ...]."""
    return broadcast_to_rank(sde.mean_coeff(t), x), broadcast_to_rank(sde.std(t), x)


NOISE, SCORE, DATA, VELOCITY, FLOW = map(Parameterization, (noise, score, data, velocity, flow))
PARAMETERIZATIONS: dict[str, Callable[[float], Parameterization]] = {
    "noise": lambda sigma_data: NOISE,
    "score": lambda sigma_data: SCORE,
    "data": lambda sigma_data: DATA,
    "velocity": lambda sigma_data: VELOCITY,
    "flow": lambda sigma_data: FLOW,
    "edm": preconditioned,
}

"""Latent codes: the probability-flow ODE maps data to t = 1 and back, a bijection; and interpolation of codes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Predict
from sampling.ode import solve
from sde.base import SDE
from sde.flow import FlowCoordinates


class Endpoint(NamedTuple):
    """The solution of the ODE at its end, `x` [B, ...], and the number of predictions (int32)."""

    x: Array
    num_evals: Array


def encode(
    predict: Predict,
    sde: SDE,
    x: Array,
    *,
    eps: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 10_000,
    solver: str = "dopri5",
    per_example: bool = False,
) -> Endpoint:
    """The latent code of `x` [B, ...], by solving dx/dt = v(x, t) from `eps` to 1.

    The codes of data are approximately distributed as the prior, N(0, prior_std^2 I). Errors are values: NaN if the
    solve fails. Source: Song et al. 2021, section 4.3 and appendix D.3.
    solver, per_example: as in `sampling.ode.ProbabilityFlow`.
    """
    settings = {"rtol": rtol, "atol": atol, "max_steps": max_steps, "solver": solver, "per_example": per_example}
    return _solve(predict, sde, x, eps, 1.0, settings)


def decode(
    predict: Predict,
    sde: SDE,
    latent: Array,
    *,
    eps: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 10_000,
    solver: str = "dopri5",
    per_example: bool = False,
) -> Endpoint:
    """The sample at time `eps` with the code `latent` [B, ...]: the inverse of `encode`, up to the tolerances."""
    settings = {"rtol": rtol, "atol": atol, "max_steps": max_steps, "solver": solver, "per_example": per_example}
    return _solve(predict, sde, latent, 1.0, eps, settings)


def round_trip_error(x: Array, decoded: Array) -> Array:
    """Root mean square over dimensions of `decoded - x` [B, ...], for each example: [B], in units of x."""
    return jnp.sqrt(jnp.mean((decoded - x) ** 2, axis=tuple(range(1, x.ndim))))


def interpolate(z1: Array, z2: Array, num: int) -> Array:
    """`num` codes from `z1` to `z2` [B, ...] along great circles, ends included: [num, B, ...].

        z(a) = (sin((1 - a) theta) z1 + sin(a theta) z2) / sin(theta),    theta: the angle between z1 and z2

    If both codes have the same norm, so does the whole path; a straight line would pass through norms that are very
    unlikely under the prior. Codes that are parallel or antiparallel to within 1e-3, for which the circle is undefined,
    are joined by a straight line.
    Errors: ValueError for fewer than two codes, and for codes of different shapes.
    Source: Shoemake, SIGGRAPH 1985; Song et al. 2021, appendix D.3.
    """
    if num < 2 or z1.shape != z2.shape:
        raise ValueError(f"num = {num} and codes of shapes {z1.shape}, {z2.shape}: use at least 2, and equal shapes.")
    axes = tuple(range(1, z1.ndim))
    norms = jnp.sqrt(jnp.sum(z1**2, axis=axes) * jnp.sum(z2**2, axis=axes))
    cosine = jnp.sum(z1 * z2, axis=axes) / jnp.maximum(norms, jnp.finfo(z1.dtype).tiny)
    theta = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    straight = jnp.sin(theta) < 1e-3
    theta = jnp.where(straight, 1.0, theta)  # not used; any angle with a nonzero sine

    def at(a: Array) -> Array:
        first = jnp.where(straight, 1 - a, jnp.sin((1 - a) * theta) / jnp.sin(theta))
        second = jnp.where(straight, a, jnp.sin(a * theta) / jnp.sin(theta))
        return broadcast_to_rank(first, z1) * z1 + broadcast_to_rank(second, z1) * z2

    return jax.vmap(at)(jnp.linspace(0.0, 1.0, num))


def temper(latent: Array, temperature: float) -> Array:
    """Codes of a prior with `temperature` times the standard deviation: below 1 more typical data, above 1 more varied.

    Errors: ValueError for a negative temperature.
    Source: Kingma and Dhariwal (Glow), 2018, section 5; Song et al. 2021, section 4.3.
    """
    if temperature < 0:
        raise ValueError(f"temperature = {temperature}, but it scales a standard deviation and must not be negative.")
    return temperature * latent


def _solve(predict: Predict, sde: SDE, x: Array, t0: float, t1: float, settings: Mapping[str, Any]) -> Endpoint:
    coordinates = FlowCoordinates(sde, min(t0, t1))
    first, last = (jnp.asarray(t, x.dtype) for t in (t0, t1))
    ends, y = jnp.stack([coordinates.coordinate(t) for t in (first, last)]), x / coordinates.scale(first)
    states, num_evals = solve(lambda u, y: coordinates.velocity(predict, y, u), y, ends, **settings)
    return Endpoint(coordinates.scale(last) * states[-1], num_evals)

"""Pseudo-inverse guidance (Pi-GDM): the score of the measurement given the noisy sample, by a Gaussian."""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Gaussian, Predict
from sampling.inverse.base import (
    Conditioned,
    corrected,
    covariance_scale,
    measurement,
    posterior_variance,
    pullback,
    unchanged,
)
from sampling.inverse.operators.base import LinearOperator, inner
from sde.base import SDE

TOLERANCE = 1e-5  # relative residual at which conjugate gradients stop; about the precision of float32
Linear = Callable[[Array], Array]  # [B, ...] -> [B, ...]


def pigdm(
    sde: SDE,
    operator: LinearOperator,
    y: Array,
    noise_std: float = 0.0,
    *,
    prior_variance: float = 1.0,
    covariance: Literal["isotropic", "jacobian"] = "isotropic",
    num_iterations: int = 10,
    limit: float = math.inf,
) -> Conditioned:
    """Pseudo-inverse guidance: adds the gradient of log N(y; A x0(x), A C A^T + noise_std^2 I) to the score.

        x0 <- x0 + (std^2 / m) J^T A^T (r^2 A A^T + noise_std^2)^-1 e      "isotropic"
        x0 <- x0 + (std^2 / m) J^T A^T (A C A^T + noise_std^2)^-1 e        "jacobian": exact for a Gaussian prior

    `covariance`: C, of x_0 given x_t; e = y - A x0, and J is that of `pullback`. "isotropic" is r^2 I, for data with
    variance `prior_variance`. "jacobian" is (std^2 / m) d x0 / d x, the covariance that the prediction itself implies;
    the linear system is then solved by at most `num_iterations` conjugate-gradient iterations per example, each with a
    backward pass, preconditioned with the isotropic case. Without a `SpectralOperator` there is none, and the
    isotropic case takes as many iterations, without a backward pass; an ill-conditioned A needs more of them.
    `limit`: largest norm of the change of x0, in units of sqrt(D prior_variance), that of the data. With an exact score
    the change stays below 1 on average. The x0 of a network and its derivative are off by many times the data where
    m / std is small; the limit keeps such errors from accumulating.
    Works with every sampler; one prediction per step, which is also differentiated.
    Errors: ValueError for another `covariance`, and for fewer than one iteration or a measurement of another shape.
    Source: Song et al., "Pseudoinverse-Guided Diffusion Models for Inverse Problems", ICLR 2023, section 3; the
    covariance is that of Boys et al., "Tweedie Moment Projected Diffusions for Inverse Problems", TMLR 2024.
    Notes: there is no further weight on the score; their algorithm 1 multiplies by r^2 within its DDIM step.
    """
    if covariance not in ("isotropic", "jacobian"):
        raise ValueError(f"covariance = {covariance!r} is not one of 'isotropic', 'jacobian'.")
    if num_iterations < 1:
        raise ValueError(f"num_iterations = {num_iterations}, but conjugate gradients need at least one.")

    A, jacobian = measurement(operator, y), covariance == "jacobian"

    def solution(pull: Linear, e: Array, t: Array) -> Array:
        """`u = (A C A^T + noise_std^2)^-1 e`, with the product with J^T, for times [B]."""
        variance = posterior_variance(sde, t, prior_variance)
        gain = None if A.gain is None else A.gain(variance, noise_std**2)
        if gain is not None and not jacobian:
            return gain * e

        def system(u: Array) -> Array:
            v = A.adjoint(u)
            C = pull(v) * covariance_scale(sde, v, t) if jacobian else v * broadcast_to_rank(variance, v)
            return A.measure(C) + noise_std**2 * u

        return conjugate_gradients(system, e, unchanged if gain is None else lambda e: gain * e, num_iterations)

    def wrap_predict(predict: Predict) -> Predict:
        def guided(x: Array, t: Array) -> Gaussian:
            prediction, pull = pullback(predict, x, t)
            change = pull(A.adjoint(solution(pull, A.residual(prediction.x0), t))) * covariance_scale(sde, x, t)
            return corrected(prediction, sde, t, limited(change, limit, prior_variance))

        return guided

    return Conditioned(wrap_predict=wrap_predict)


def limited(change: Array, limit: float, variance: float) -> Array:
    """`change` [B, ...], scaled down to the norm `limit sqrt(D variance)`."""
    largest = limit * math.sqrt(variance * math.prod(change.shape[1:]))
    norm = jnp.sqrt(inner(change, change))
    return broadcast_to_rank(jnp.minimum(1.0, largest / jnp.maximum(norm, 1e-30)), change) * change


def conjugate_gradients(system: Linear, b: Array, precondition: Linear, num_iterations: int) -> Array:
    """Solves system(u) = b for a linear map of each example [B, ...] that is symmetric and positive semidefinite.

    Both are meant for the real inner product, also where b is complex.
    Takes at most `num_iterations` products with the system. An example stops when its residual is `TOLERANCE` times b,
    or when its system turns out not to be positive (the Jacobian of a network need not be symmetric), and keeps the
    result so far.
    Source: Hestenes and Stiefel, J. Res. Nat. Bur. Standards 49, 1952, section 3; preconditioned.
    """

    def dot(a: Array, b: Array) -> Array:
        return broadcast_to_rank(inner(a, b), a)

    State = tuple[Array, Array, Array, Array, Array, Array]

    def going_on(state: State) -> Array:
        return (state[0] < num_iterations) & jnp.any(state[-1])

    def iterate(state: State) -> State:
        number, u, residual, direction, size, going = state
        moved = system(direction)
        curvature = dot(direction, moved)
        going = going & (curvature > 0)
        alpha = jnp.where(going, size / jnp.where(going, curvature, 1.0), 0.0)
        u, residual = u + alpha * direction, residual - alpha * moved
        z = precondition(residual)
        new_size = dot(residual, z)
        direction = z + jnp.where(going, new_size / jnp.where(size > 0, size, 1.0), 0.0) * direction
        return number + 1, u, residual, direction, new_size, going & (dot(residual, residual) > least)

    z = precondition(b)
    least = TOLERANCE**2 * dot(b, b)
    start = (jnp.zeros((), jnp.int32), jnp.zeros_like(b), b, z, dot(b, z), dot(b, b) > 0)
    return jax.lax.while_loop(going_on, iterate, start)[1]

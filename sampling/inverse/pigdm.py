"""Pseudo-inverse guidance (Pi-GDM): the score of the measurement given the noisy sample, by a Gaussian."""

import math
from typing import Literal

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
)
from sampling.inverse.operators.base import LinearOperator, inner
from sde.base import SDE


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
    A, jacobian = measurement(operator, y, num_iterations), covariance == "jacobian"

    def wrap_predict(predict: Predict) -> Predict:
        def guided(x: Array, t: Array) -> Gaussian:
            prediction, pull = pullback(predict, x, t)

            def implied(v: Array) -> Array:
                return pull(v) * covariance_scale(sde, x, t)

            variance, e = posterior_variance(sde, t, prior_variance), A.residual(prediction.x0)
            u = A.solve(e, variance, noise_std**2, implied if jacobian else None)
            return corrected(prediction, sde, t, limited(implied(A.adjoint(u)), limit, prior_variance))

        return guided

    return Conditioned(wrap_predict=wrap_predict)


def limited(change: Array, limit: float, variance: float) -> Array:
    """`change` [B, ...], scaled down to the norm `limit sqrt(D variance)`."""
    largest = limit * math.sqrt(variance * math.prod(change.shape[1:]))
    norm = jnp.sqrt(inner(change, change))
    return broadcast_to_rank(jnp.minimum(1.0, largest / jnp.maximum(norm, 1e-30)), change) * change

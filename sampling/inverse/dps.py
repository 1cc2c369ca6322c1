"""Diffusion posterior sampling (DPS): gradient descent on the residual of the measurement."""

import math
from typing import Literal

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Gaussian, Predict
from sampling.base import Sample, Step
from sampling.inverse.base import (
    Conditioned,
    corrected,
    covariance_scale,
    measurement,
    posterior_variance,
    pullback,
)
from sampling.inverse.operators.base import LinearOperator, SpectralOperator, inner, largest_singular_value
from sde.base import SDE


def dps(
    sde: SDE,
    operator: LinearOperator,
    y: Array,
    noise_std: float = 0.0,
    *,
    prior_variance: float = 1.0,
    zeta: float = 1.0,
    form: Literal["step", "score"] = "step",
) -> Conditioned:
    """Diffusion posterior sampling: gradient descent on the norm of the residual, |y - A x0(x)|.

        "step"     x_next <- x_next - zeta grad_x |y - A x0(x)|,   x before the step; for the predictor of `PC` only
        "score"    score - (zeta sqrt(M) / sqrt(r^2 max(S)^2 + noise_std^2)) grad_x |y - A x0(x)|;   every sampler

    With e = y - A x0 and J of `pullback`, -grad_x |e| = J^T A^T e / |e|.
    "step" does not know the length of the predictor's step: zeta must be tuned to the number of steps, and neither
    `noise_std` nor `prior_variance` is used. In "score", where M is the number of measured coordinates, zeta = 1 gives
    the gradient of `pigdm` ("isotropic") if all singular values are equal and the residual is as large as expected, so
    it suits every number of steps and every unit. Without a `SpectralOperator`, M is the smaller of the numbers in x
    and in y, and max(S) is found by power iterations. Two predictions per step, one in "score".
    Errors: ValueError for another `form`, and for a measurement of another shape.
    Source: Chung et al., "Diffusion Posterior Sampling for General Noisy Inverse Problems", ICLR 2023, algorithm 1.
    Notes: theirs is the gradient of the squared norm divided by the norm, so zeta is twice theirs.
    """
    if form not in ("step", "score"):
        raise ValueError(f"form = {form!r} is not one of 'step', 'score'.")
    A = measurement(operator, y)

    def descent(predict: Predict, x: Array, t: Array) -> tuple[Gaussian, Array]:
        """The prediction, and minus the gradient of the norm of the residual [B, ...]; one call."""
        prediction, pull = pullback(predict, x, t)
        e = A.residual(prediction.x0)
        norm = broadcast_to_rank(jnp.maximum(jnp.sqrt(inner(e, e)), 1e-12), e)
        return prediction, pull(A.adjoint(e / norm))

    def wrap_step(step: Step) -> Step:
        def guided(z: Array, predict: Predict, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
            sample, shift = step(z, predict, sde, x, t, t_next), zeta * descent(predict, x, t)[1]
            return Sample(sample.x + shift, sample.mean + shift)

        return guided

    def wrap_predict(predict: Predict) -> Predict:
        num_measured, largest = _num_measured(operator, y), largest_singular_value(operator)

        def guided(x: Array, t: Array) -> Gaussian:
            prediction, shift = descent(predict, x, t)
            variance = posterior_variance(sde, t, prior_variance) * largest**2 + noise_std**2
            strength = broadcast_to_rank(zeta * jnp.sqrt(num_measured / jnp.maximum(variance, 1e-30)), x)
            return corrected(prediction, sde, t, covariance_scale(sde, x, t) * strength * shift)

        return guided

    return Conditioned(wrap_step=wrap_step) if form == "step" else Conditioned(wrap_predict=wrap_predict)


def _num_measured(operator: LinearOperator, y: Array) -> Array:
    """M of each example: the number of measured coordinates, or the most that there can be."""
    if isinstance(operator, SpectralOperator):
        c = operator.coordinates(y)
        return jnp.sum(jnp.broadcast_to(operator.measured, c.shape), axis=tuple(range(1, c.ndim)))
    num_reals = math.prod(y.shape[1:]) * (2 if jnp.iscomplexobj(y) else 1)
    return jnp.asarray(min(num_reals, math.prod(operator.shape)))

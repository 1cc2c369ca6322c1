"""Diffusion posterior sampling (DPS): gradient descent on the residual of the measurement."""

from typing import Literal

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Gaussian, Predict, shifted
from sampling.base import Sample, Step
from sampling.inverse.base import Conditioned, adjoint_of_coordinates, posterior_variance, pullback, residual
from sampling.inverse.operators.base import SpectralOperator
from sde.base import SDE


def dps(
    sde: SDE,
    operator: SpectralOperator,
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

    In terms of e and J (see `residual` and `pullback`), -grad_x |y - A x0| = J^T A^T U e / |e|.
    "step" does not know the length of the predictor's step: zeta must be tuned to the number of steps, and neither
    `noise_std` nor `prior_variance` is used. In "score", where M is the number of measured coordinates, zeta = 1 gives
    the gradient of `pigdm` ("isotropic") if all singular values are equal and the residual is as large as expected, so
    it suits every number of steps and every unit. Two predictions per step, one in "score".
    Errors: ValueError for another `form`.
    Source: Chung et al., "Diffusion Posterior Sampling for General Noisy Inverse Problems", ICLR 2023, algorithm 1.
    Notes: theirs is the gradient of the squared norm divided by the norm, so zeta is twice theirs.
    """
    if form not in ("step", "score"):
        raise ValueError(f"form = {form!r} is not one of 'step', 'score'.")

    def descent(predict: Predict, x: Array, t: Array) -> tuple[Array, Array, Gaussian]:
        """Minus the gradient of the norm of the residual [B, ...], M [B], and the prediction; one call."""
        prediction, pull = pullback(predict, x, t)
        e = residual(operator, y, prediction.x0)
        axes = tuple(range(1, e.ndim))
        norm = jnp.sqrt(jnp.sum(e**2, axis=axes))
        num_measured = jnp.sum(jnp.broadcast_to(operator.measured, e.shape), axis=axes)
        return (
            pull(adjoint_of_coordinates(operator, e / broadcast_to_rank(jnp.maximum(norm, 1e-12), e))),
            num_measured,
            prediction,
        )

    def wrap_step(step: Step) -> Step:
        def guided(z: Array, predict: Predict, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
            sample, shift = step(z, predict, sde, x, t, t_next), zeta * descent(predict, x, t)[0]
            return Sample(sample.x + shift, sample.mean + shift)

        return guided

    def wrap_predict(predict: Predict) -> Predict:
        def guided(x: Array, t: Array) -> Gaussian:
            shift, num_measured, prediction = descent(predict, x, t)
            largest = jnp.max(operator.singular_values)
            variance = posterior_variance(sde, t, prior_variance) * largest**2 + noise_std**2
            weight = broadcast_to_rank(zeta * jnp.sqrt(num_measured / jnp.maximum(variance, 1e-30)), x)
            return shifted(prediction, sde, t, weight * shift)

        return guided

    return Conditioned(wrap_step=wrap_step) if form == "step" else Conditioned(wrap_predict=wrap_predict)

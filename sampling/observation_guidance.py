"""Observation self-guidance: the model's own posterior mean says how well a noisy sample explains what is observed.

The model is trained on whole examples and knows nothing of the task; forecasts, gaps and coarse measurements are asked
of it by guidance alone, like class labels of a classifier.

Squares are stable in small steps only. A step with noise of variance beta moves the explained part of the residual e by
2 scale beta J^2 e, which overshoots from 2 on. For a Gaussian, J is at most sqrt(v) / 2, where v is the variance of
what moves together, so that `scale beta v` must be below 4. A network that is taken beyond its data predicts noise of
the usual size for any x: there J is 1 / m, 13 at the end of the published schedule, and each step overshoots by more
than the one before. Slopes of quantiles are bounded; `limit` bounds those of the squares, and few of them reach it
where x is as usual.
"""

from typing import Literal

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Gaussian, Predict, shifted
from sampling.inverse.base import Conditioned, pullback
from sampling.inverse.operators.base import LinearOperator, SpectralOperator, is_complex
from sde.base import SDE

Loss = Literal["mean_square", "quantile"]
LOSSES: tuple[Loss, ...] = ("mean_square", "quantile")


def observation_guidance(
    sde: SDE,
    operator: LinearOperator,
    y: Array,
    *,
    loss: Loss = "mean_square",
    scale: float = 1.0,
    level: Array | float = 0.5,
    limit: float = 12.0,
) -> Conditioned:
    """Self-guidance: adds `scale` times the gradient of log p(y | x0(x, t)) with respect to x to the score at (x, t).

        log p(y | x0) = -sum_i e_i^2                                 "mean_square"
        log p(y | x0) = -sum_i max(level e_i, (level - 1) e_i)       "quantile"

    e = y - A x0, with the posterior mean x0 of the data; the gradient is J^T A^T (2 e), or J^T A^T q with q = level
    where e > 0 and level - 1 where e < 0, and J is that of `pullback`: at the same x and t as the prediction.
    `limit`: the largest absolute value of `2 scale e`; see above.
    `level`: of the quantile, a number or [B]. Samples 1 ... S of one y have the levels i / (S + 1) (see
    `quantile_levels`), so that each is drawn to a quantile of its own.
    The condition is soft, and its samples are not those of the posterior even with an exact prediction: the
    likelihoods are those of unit noise, whatever the time. Works with every sampler; one prediction per step, which is
    also differentiated.
    Errors: ValueError for another `loss`, a measurement of another shape, and quantiles of complex measurements.
    Source: Kollovieh et al., "Predict, Refine, Synthesize: Self-Guiding Diffusion Models for Probabilistic Time Series
    Forecasting", NeurIPS 2023, section 3.2.
    Notes: theirs shifts the mean of an ancestral step by scale times the variance of the step's noise times the
    gradient, which vanishes in the last step; a change of the score also shifts that one, and works with every
    sampler. The published code takes the gradient at the result of the step, with the time before it.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss = {loss!r} is not one of {', '.join(map(repr, LOSSES))}.")
    if y.shape[1:] != tuple(operator.measurement_shape):
        raise ValueError(
            f"The measurement has shape {y.shape}, but this operator produces [B, *{operator.measurement_shape}]."
        )
    if loss == "quantile" and is_complex(operator):
        raise ValueError("Complex measurements have no quantiles: use loss = 'mean_square'.")
    if isinstance(operator, SpectralOperator):
        y = operator.from_spectrum(operator.coordinates(y))  # without what is not measured

    def slope(e: Array) -> Array:
        """`scale` times the derivative of log p(y | x0) with respect to A x0, for the residual e [B, ...]."""
        if loss == "mean_square":
            return _bounded(2 * scale * e, limit)
        q = broadcast_to_rank(jnp.asarray(level), e)
        return scale * jnp.where(e > 0, q, jnp.where(e < 0, q - 1, 0.0))

    def wrap_predict(predict: Predict) -> Predict:
        def guided(x: Array, t: Array) -> Gaussian:
            prediction, pull = pullback(predict, x, t)
            e = y - operator.measure(prediction.x0)
            return shifted(prediction, sde, t, pull(operator.adjoint(slope(e))))

        return guided

    return Conditioned(wrap_predict=wrap_predict)


def _bounded(values: Array, limit: float) -> Array:
    """Values whose absolute value is at most `limit`; complex ones keep their angle."""
    return values * jnp.minimum(1.0, limit / jnp.maximum(jnp.abs(values), 1e-30))


def quantile_levels(sample: Array, num: int) -> Array:
    """The levels (i + 1) / (num + 1) of samples i = 0 ... num - 1, of `num` for each measurement."""
    return (sample + 1) / (num + 1)

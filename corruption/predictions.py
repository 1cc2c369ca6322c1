"""Predictions: the currency between networks and everything that uses them.

A prediction of what an example was before it was corrupted, given its corrupted form x_t at time t. Samplers, solvers,
guidance, inverse methods and objectives see nothing of a network but a `Predict`.
"""

from collections.abc import Callable
from typing import NamedTuple

from core.arrays import Array, broadcast_to_rank
from sde.base import SDE, ScoreFn


class Gaussian(NamedTuple):
    """A prediction for `x_t = mean_coeff(t) x0 + std(t) noise`: the expectations of both, given x_t; each [B, ...].

    A parameterization computes each field from what the network predicts, without cancellation, instead of one from the
    other by that equation, which divides by a coefficient that may be small.
    """

    x0: Array
    noise: Array


class Categorical(NamedTuple):
    """A prediction for categories: the log-probabilities of the data at each site, `log_probs` [B, ..., K], in nats."""

    log_probs: Array


class Mixture(NamedTuple):
    """A prediction for vectors: a mixture of C normal distributions with diagonal covariances at each position.

    log_weights: [B, ..., C], up to a constant. mean, log_std: [B, ..., C, d].
    """

    log_weights: Array
    mean: Array
    log_std: Array


Prediction = Gaussian | Categorical | Mixture
Predict = Callable[[Array, Array], Gaussian]  # (x_t [B, ...], t [B]) -> prediction
# (x_t [B, ...], t [B], r [B] = t) -> the prediction with which x goes straight from t to r: of the average velocity
PredictBetween = Callable[..., Gaussian]
PredictCategories = Callable[[Array, Array], Categorical]  # (x_t int [B, ...], t [B]) -> prediction


def from_score(score_fn: ScoreFn, sde: SDE) -> Predict:
    """The prediction that an exact score implies: `noise = -std score`, `x0 = (x + std^2 score) / mean_coeff`.

    Source: Tweedie's formula (Efron 2011, equation 1.4) for the kernels of Song et al. 2021, equation 29.
    Notes: x0 loses digits where mean_coeff is small; a parameterization that knows more fills it directly.
    """

    def predict(x: Array, t: Array) -> Gaussian:
        score, std = score_fn(x, t), broadcast_to_rank(sde.std(t), x)
        return Gaussian((x + std**2 * score) / broadcast_to_rank(sde.mean_coeff(t), x), -std * score)

    return predict


def shifted(prediction: Gaussian, sde: SDE, t: Array, gradient: Array) -> Gaussian:
    """The prediction at times t [B] with `gradient` [B, ...] added to its score.

    noise <- noise - std gradient,    x0 <- x0 + (std^2 / mean_coeff) gradient
    """
    m, std = broadcast_to_rank(sde.mean_coeff(t), gradient), broadcast_to_rank(sde.std(t), gradient)
    return Gaussian(prediction.x0 + std**2 / m * gradient, prediction.noise - std * gradient)


def score_of(prediction: Gaussian, sde: SDE, t: Array) -> Array:
    """The score that a prediction at times t [B] implies: `-noise / std`, [B, ...]."""
    return -prediction.noise / broadcast_to_rank(sde.std(t), prediction.noise)


def to_score(predict: Predict, sde: SDE) -> ScoreFn:
    """The score function `(x [B, ...], t [B]) -> [B, ...]` of a prediction; the inverse of `from_score`."""

    def score_fn(x: Array, t: Array) -> Array:
        return score_of(predict(x, t), sde, t)

    return score_fn

"""Guided score functions: two scores, or a score and a classifier, combined into one.

At every time t the result is the score of a tilted density p(x_t) p(c | x_t)^scale. For scale 1 this is the conditional
density, and the samples are conditional samples. For any other scale the tilted densities at t > 0 are not noised
versions of the one at t = 0, so the samples do not follow p(x_0) p(c | x_0)^scale, however many steps are taken.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from sde.base import SDE, ScoreFn

LogProb = Callable[[Array, Array], Array]  # (x [B, ...], t [B]) -> log p(c | x_t = x) in nats [B]


@dataclasses.dataclass(frozen=True)
class Interval:
    """An interval of noise levels, low <= sigma <= high, with sigma = std(t) / mean_coeff(t) in units of the data.

    Source: Kynkäänniemi et al., "Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in
    Diffusion Models", NeurIPS 2024, section 3.
    Errors: ValueError for an empty interval.
    """

    sde: SDE
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise ValueError(f"An interval of noise levels needs 0 <= low < high, not {self.low}, {self.high}.")

    def __call__(self, t: Array) -> Array:
        """Whether the times t [B] are in the interval: bool [B]."""
        sigma = self.sde.std(t) / self.sde.mean_coeff(t)
        return (self.low <= sigma) & (sigma <= self.high)


def classifier_guided(
    score_fn: ScoreFn, log_prob: LogProb, scale: float = 1.0, interval: Interval | None = None
) -> ScoreFn:
    """score(x, t) + scale grad_x log p(c | x_t) inside `interval`, score(x, t) outside.

    `log_prob` closes over the class label, which may differ between examples. Example i of its result must depend only
    on example i of x, because the gradient is that of the sum.
    Source: Song et al. 2021, equation 14 and appendix I.1; the scale: Dhariwal and Nichol, NeurIPS 2021, algorithm 1.
    """
    gradient = jax.grad(lambda x, t: jnp.sum(log_prob(x, t)))

    def score(x: Array, t: Array) -> Array:
        return score_fn(x, t) + _strength(scale, interval, x, t) * gradient(x, t)

    return score


def classifier_free(
    conditional: ScoreFn, unconditional: ScoreFn, scale: float, interval: Interval | None = None
) -> ScoreFn:
    """s_u + scale (s_c - s_u) inside `interval`, s_c outside: scale 0 is unconditional, 1 conditional, above 1 sharper.

    Evaluates both score functions, except that scale 1 is `conditional` itself.
    Source: Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022, equation 6 with w = scale - 1.
    """
    if scale == 1:
        return conditional

    def score(x: Array, t: Array) -> Array:
        s_c, s_u = conditional(x, t), unconditional(x, t)
        return s_c + _strength(scale - 1, interval, x, t) * (s_c - s_u)

    return score


def autoguided(score_fn: ScoreFn, weaker: ScoreFn, scale: float, interval: Interval | None = None) -> ScoreFn:
    """s_w + scale (s - s_w) inside `interval`, s outside: away from the errors of a `weaker` model of the same data.

    `weaker`: a smaller model, or one trained for fewer steps, conditioned on the same class labels if there are any.
    Source: Karras et al., "Guiding a Diffusion Model with a Bad Version of Itself", NeurIPS 2024, section 3.
    """
    return classifier_free(score_fn, weaker, scale, interval)


def _strength(scale: float, interval: Interval | None, x: Array, t: Array) -> Array:
    """`scale` inside the interval and zero outside, broadcastable to x [B, ...]."""
    return broadcast_to_rank(jnp.where(True if interval is None else interval(t), scale, 0.0), x)

"""Guided predictions: two predictions, or a prediction and a classifier, combined into one.

Guidance is linear in the score, and so in both fields of a prediction. At every time t the result is that of a tilted
density p(x_t) p(c | x_t)^scale. For scale 1 this is the conditional density, and the samples are conditional samples.
For any other scale the tilted densities at t > 0 are not noised versions of the one at t = 0, so the samples do not
follow p(x_0) p(c | x_0)^scale, however many steps are taken.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Gaussian, Predict, shifted
from sde.base import SDE

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
    predict: Predict, log_prob: LogProb, sde: SDE, scale: float = 1.0, interval: Interval | None = None
) -> Predict:
    """score(x, t) + scale grad_x log p(c | x_t) inside `interval`, score(x, t) outside.

        noise <- noise - std scale grad,    x0 <- x0 + (std^2 / mean_coeff) scale grad

    `log_prob` closes over the class label, which may differ between examples. Example i of its result must depend only
    on example i of x, because the gradient is that of the sum.
    Source: Song et al. 2021, equation 14 and appendix I.1; the scale: Dhariwal and Nichol, NeurIPS 2021, algorithm 1.
    """
    gradient = jax.grad(lambda x, t: jnp.sum(log_prob(x, t)))

    def guided(x: Array, t: Array) -> Gaussian:
        return shifted(predict(x, t), sde, t, broadcast_to_rank(_strength(scale, interval, t), x) * gradient(x, t))

    return guided


def classifier_free(
    conditional: Predict, unconditional: Predict, scale: float | Array, interval: Interval | None = None
) -> Predict:
    """p_u + scale (p_c - p_u) inside `interval`, p_c outside: scale 0 is unconditional, 1 conditional, above 1 sharper.

    Makes both predictions, except that scale 1 is `conditional` itself; a scale may be traced. Those of average
    velocities, which take a second time, are combined at both times; `p_w` is then exact only as the interval between
    them goes to zero.
    Source: Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022, equation 6 with w = scale - 1.
    """
    if isinstance(scale, int | float) and scale == 1:
        return conditional

    def guided(x: Array, t: Array, *r: Array) -> Gaussian:
        strength = _strength(scale - 1, interval, t)
        combine = lambda c, u: c + broadcast_to_rank(strength, c) * (c - u)  # noqa: E731
        return jax.tree.map(combine, conditional(x, t, *r), unconditional(x, t, *r))

    return guided


def autoguided(predict: Predict, weaker: Predict, scale: float, interval: Interval | None = None) -> Predict:
    """p_w + scale (p - p_w) inside `interval`, p outside: away from the errors of a `weaker` model of the same data.

    `weaker`: a smaller model, or one trained for fewer steps, conditioned on the same class labels if there are any.
    Source: Karras et al., "Guiding a Diffusion Model with a Bad Version of Itself", NeurIPS 2024, section 3.
    """
    return classifier_free(predict, weaker, scale, interval)


def _strength(scale: float | Array, interval: Interval | None, t: Array) -> Array:
    """`scale` inside the interval and zero outside: [B], or a number without an interval."""
    return jnp.where(True if interval is None else interval(t), scale, 0.0)

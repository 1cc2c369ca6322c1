"""Ancestral sampling: the Gaussian transition from t to t_next that a prediction implies."""

from typing import Literal

from core.arrays import Array, broadcast_to_rank
from corruption.gaussian import GaussianNoise
from corruption.predictions import Predict
from sampling.base import Sample, Step
from sde.base import SDE


def ancestral(*, variance: Literal["posterior", "transition"] = "posterior") -> Step:
    """The expectation of x at t_next given x at t, with noise of one of the two usual variances.

    mean = m' x0 + (scale std'^2 / std) noise,    (scale, G) = transition(t_next, t),  m', std' at t_next
    x = mean + s z,    s = std' G / std  for "posterior",    s = G  for "transition"

    "posterior" is the standard deviation of x at t_next given x at t *and* the data; "transition" is that of the
    forward transition. Predicts once. Errors: ValueError for another `variance`.
    Source: Song et al. 2021, equations 47 (SMLD: "posterior") and 4 (DDPM: "transition"); Ho et al. 2020, section 3.2.
    Notes: published as mean = (x + G^2 score) / scale, which is the same, but cancels where `scale` is small.
    """
    if variance not in ("posterior", "transition"):
        raise ValueError(f"variance = {variance!r} is not one of 'posterior', 'transition'.")

    def step(z: Array, predict: Predict, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        mean, spread = GaussianNoise(sde).posterior(predict(x, t), t, t_next)
        if variance == "transition":
            spread = broadcast_to_rank(sde.transition(t_next, t)[1], x)
        return Sample(mean + spread * z, mean)

    return step

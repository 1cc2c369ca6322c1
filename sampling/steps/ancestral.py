"""Ancestral sampling: the Gaussian transition from t to t_next that the score implies."""

from typing import Literal

from core.arrays import Array, broadcast_to_rank
from sampling.base import Sample, Step
from sde.base import SDE, ScoreFn


def ancestral(*, variance: Literal["posterior", "transition"] = "posterior") -> Step:
    """The expectation of x at t_next given x at t, with noise of one of the two usual variances.

    mean = (x + G^2 score) / scale,    (scale, G) = transition(t_next, t)
    x = mean + s z,    s = std(t_next) G / std(t)  for "posterior",    s = G  for "transition"

    "posterior" is the standard deviation of x at t_next given x at t *and* the data; "transition" is that of the
    forward transition. Calls the score function once. Errors: ValueError for another `variance`.
    Source: Song et al. 2021, equations 47 (SMLD: "posterior") and 4 (DDPM: "transition"); Ho et al. 2020, section 3.2.
    """
    if variance not in ("posterior", "transition"):
        raise ValueError(f"variance = {variance!r} is not one of 'posterior', 'transition'.")

    def step(z: Array, score_fn: ScoreFn, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        scale, std = sde.transition(t_next, t)
        mean = (x + broadcast_to_rank(std**2, x) * score_fn(x, t)) / broadcast_to_rank(scale, x)
        spread = sde.std(t_next) * std / sde.std(t) if variance == "posterior" else std
        return Sample(mean + broadcast_to_rank(spread, x) * z, mean)

    return step

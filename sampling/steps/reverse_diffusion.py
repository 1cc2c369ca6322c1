"""Reverse diffusion: the forward transition in reverse."""

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Predict
from sampling.base import Sample, Step
from sde.base import SDE


def reverse_diffusion(*, probability_flow: bool = False) -> Step:
    """The forward transition `x_t = x + f + G z` in reverse, or its deterministic form with half the score.

    mean = x - f + G^2 score,    x = mean + G z,    f = (scale - 1) x,  (scale, G) = transition(t_next, t),
    score = -noise / std

    Predicts once. Source: Song et al. 2021, equation 46, algorithms 2 and 3; appendix D.3 for the ODE.
    Notes: for sub-VP the published step is that of Euler-Maruyama; here it is the transition, as for every SDE.
    """

    def step(z: Array, predict: Predict, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        scale, std = sde.transition(t_next, t)
        weight = 0.5 if probability_flow else 1.0
        kick = broadcast_to_rank(weight * std**2 / sde.std(t), x) * predict(x, t).noise
        mean = x - broadcast_to_rank(scale - 1, x) * x - kick
        return Sample(mean, mean) if probability_flow else Sample(mean + broadcast_to_rank(std, x) * z, mean)

    return step

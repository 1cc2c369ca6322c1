"""Sampling with a network of average velocities: steps of any length, with one call each."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from core.keys import draw_normal
from corruption.predictions import PredictBetween
from sampling.base import Sample
from sampling.loop import OneCall
from sde.base import SDE

# (keys [B], predict, sde, x [B, ...], t [B], t_next [B])
Jump = Callable[[Array, PredictBetween, SDE, Array, Array, Array], Sample]


def along_velocity(keys: Array, predict: PredictBetween, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
    """x - (t - t_next) u(x, t, t_next): a straight line, exact for an exact u on the linear path.

    Source: Geng et al., "Mean Flows for One-step Generative Modeling", NeurIPS 2025, algorithm 2.
    """
    x0, noise = predict(x, t, t_next)
    mean = x - broadcast_to_rank(t - t_next, x) * (noise - x0)
    return Sample(mean, mean)


def through_data(keys: Array, predict: PredictBetween, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
    """To the data, f = x - t u(x, t, 0), and back to t_next with fresh noise: mean_coeff f + std z.

    Source: Song et al., "Consistency Models", ICML 2023, algorithm 1.
    """
    x0, noise = predict(x, t, jnp.zeros_like(t))
    mean = x - broadcast_to_rank(t, x) * (noise - x0)
    return Sample(sde.perturb(mean, t_next, draw_normal(keys, x.shape)), mean)


@dataclasses.dataclass(frozen=True)
class FewSteps(OneCall):
    """Steps of one call each; a `Stepper` (see `sampling.loop.Stepper`)."""

    sde: SDE
    jump: Jump

    def step(self, keys: Array, predict: PredictBetween, state: Sample, t: Array, t_next: Array, row: None) -> Sample:
        """The jump to t_next."""
        return self.jump(keys, predict, self.sde, state.x, t, t_next)


STEPS: dict[str, Jump] = {"average_velocity": along_velocity, "consistency": through_data}

"""Predictor-corrector sampling: all single-step methods, as a stepper of the fixed-step loop."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp

from core.arrays import Array
from core.keys import draw_normal
from corruption.gaussian import GaussianNoise
from corruption.predictions import Gaussian, Predict
from sampling.base import Sample, Step
from sampling.loop import FixedStep, count_calls
from sde.base import SDE


@dataclasses.dataclass(frozen=True)
class PredictorCorrector:
    """Corrector steps at each time, then a predictor step to the next; a `Stepper` (see `sampling.loop.Stepper`).

    Errors: ValueError for a negative number of corrector steps.
    Source: Song et al. 2021, algorithms 1 to 5.
    Notes: published samplers generate a corrector's noise for the batch as a whole, and end with a step of 1/N without
    noise.
    """

    sde: SDE
    predictor: Step
    corrector: Step
    num_corrections: int = 1

    def __post_init__(self) -> None:
        if self.num_corrections < 0:
            raise ValueError(f"num_corrector_steps must not be negative, but is {self.num_corrections}.")

    def init(self, x: Array) -> Sample:
        """x itself."""
        return Sample(x, x)

    def calls(self, x: Array) -> int:
        """Predictions of the predictor and of all corrector steps."""
        return self.num_corrections * self._calls(self.corrector, x) + self._calls(self.predictor, x)

    def table(self, times: tuple[float, ...], dtype: jnp.dtype) -> None:
        """Nothing: every step is the same function of its times."""

    def correct(self, keys: Array, predict: Predict, state: Sample, t: Array, t_next: Array, row: None) -> Sample:
        """A corrector step."""
        return self.corrector(draw_normal(keys, state.x.shape), predict, self.sde, state.x, t, t_next)

    def step(self, keys: Array, predict: Predict, state: Sample, t: Array, t_next: Array, row: None) -> Sample:
        """The predictor's step."""
        return self.predictor(draw_normal(keys, state.x.shape), predict, self.sde, state.x, t, t_next)

    def _calls(self, step: Step, x: Array) -> int:
        t = jnp.ones(x.shape[:1])
        return count_calls(lambda predict, x: step(x, predict, self.sde, x, t, t), lambda x: Gaussian(x, x), x)


def pc(
    sde: SDE,
    predictor: Step,
    corrector: Step,
    times: Sequence[float],
    *,
    num_corrector_steps: int = 1,
    denoise: bool = True,
) -> FixedStep:
    """The predictor-corrector sampler of an SDE over the grid `times`; see `sampling.loop.FixedStep`."""
    stepper = PredictorCorrector(sde, predictor, corrector, num_corrector_steps)
    return FixedStep(GaussianNoise(sde), stepper, times, denoise)

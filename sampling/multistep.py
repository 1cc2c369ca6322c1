"""Multistep solvers as a stepper of the fixed-step loop: their steps are rows of the table of `sampling.coefficients`.

Every step calls the network once, and keeps the predictions of the previous steps.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from core.keys import draw_normal
from corruption.gaussian import GaussianNoise
from corruption.predictions import Gaussian, Predict
from sampling.coefficients import Coefficients, Method, coefficients
from sampling.loop import FixedStep, count_calls
from sde.base import SDE

FEW_STEPS = 15  # with fewer steps the last ones are of lower order, as Lu et al. recommend


class MultistepState(NamedTuple):
    """x and `mean` as those of `Sample`, x at the start of the last step, and predictions [P, B, ...], newest first."""

    x: Array
    mean: Array
    before: Array
    predictions: Array


@dataclasses.dataclass(frozen=True)
class MultistepSolver:
    """A multistep method; a `Stepper` (see `sampling.loop.Stepper`).

    predictions = [prediction(x, t), *predictions[:-1]]
    x = stay x + redo x_before + fix . predictions             UniPC only, using the newest prediction
    x = keep x + weights . predictions + spread z

    `lower_final`: use lower orders in the last steps; by default only with fewer than 15 steps.
    Source: Lu et al. 2022, algorithm 2; Zhao et al. 2023, algorithms 5 to 8; Zhang and Chen 2023, algorithm 1.
    """

    sde: SDE
    method: Method
    lower_final: bool | None = None

    @property
    def num_corrections(self) -> int:
        """1 for a method that corrects x."""
        return int(self.method.corrects)

    @property
    def num_predictions(self) -> int:
        """How many predictions a step combines."""
        return self.method.order + int(self.method.corrects)

    def init(self, x: Array) -> MultistepState:
        """x, without predictions."""
        return MultistepState(x, x, x, jnp.zeros((self.num_predictions, *x.shape), x.dtype))

    def calls(self, x: Array) -> int:
        """One, for either form of prediction."""
        t = jnp.ones(x.shape[:1])
        return count_calls(lambda predict, x: self._predicted(predict, self.init(x), t), lambda x: Gaussian(x, x), x)

    def table(self, times: tuple[float, ...], dtype: jnp.dtype) -> Coefficients:
        """The coefficients of every step, [N] or [N, P]."""
        lower_final = len(times) - 1 < FEW_STEPS if self.lower_final is None else self.lower_final
        table = coefficients(self.sde, self.method, times, lower_final)
        return jax.tree.map(lambda column: jnp.asarray(column, dtype), table)

    def correct(
        self, keys: Array, predict: Predict, state: MultistepState, t: Array, t_next: Array, row: Coefficients
    ) -> MultistepState:
        """x at time t again, with the prediction made there."""
        predictions = self._predicted(predict, state, t)
        x = row.stay * state.x + row.redo * state.before + _combine(row.fix, predictions)
        return MultistepState(x, x, x, predictions)

    def step(
        self, keys: Array, predict: Predict, state: MultistepState, t: Array, t_next: Array, row: Coefficients
    ) -> MultistepState:
        """A step with the predictions so far."""
        predictions = state.predictions if self.method.corrects else self._predicted(predict, state, t)
        mean = row.keep * state.x + _combine(row.weights, predictions)
        x = mean + row.spread * draw_normal(keys, mean.shape) if self.method.noisy else mean
        return MultistepState(x, mean, state.x, predictions)

    def _predicted(self, predict: Predict, state: MultistepState, t: Array) -> Array:
        """The predictions with that of the data, or of the noise, given x at t [B] in front: [P, B, ...]."""
        prediction = predict(state.x, t)
        newest = prediction.x0 if self.method.predicts == "data" else prediction.noise
        return jnp.concatenate([newest[None], state.predictions[:-1]])


def multistep(
    sde: SDE, method: Method, times: Sequence[float], *, lower_final: bool | None = None, denoise: bool = True
) -> FixedStep:
    """The sampler with a multistep method over the grid `times`; see `sampling.loop.FixedStep`."""
    return FixedStep(GaussianNoise(sde), MultistepSolver(sde, method, lower_final), times, denoise)


def _combine(weights: Array, predictions: Array) -> Array:
    """sum_j weights_j predictions_j of `weights` [P] and `predictions` [P, B, ...], in full precision."""
    return jnp.sum(broadcast_to_rank(weights, predictions) * predictions, axis=0)

"""The loop of the multistep solvers, whose steps are rows of the table that `sampling.coefficients` computes.

Every step calls the network once, and keeps the predictions of the previous steps.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from core.keys import SampleKey, draw_normal, fold_in
from corruption.predictions import Predict
from sampling.base import (
    Constrain,
    Sample,
    Samples,
    Start,
    begin,
    empty_states,
    keys_of_examples,
    record,
    trajectory_slots,
    unconstrained,
)
from sampling.coefficients import Coefficients, Method, coefficients
from sampling.pc import calls, checked_times, times_from
from sde.base import SDE

FEW_STEPS = 15  # with fewer steps the last ones are of lower order, as Lu et al. recommend


class LoopState(NamedTuple):
    """State of the loop: the sample, x at the start of the last step, predictions [P, B, ...], recorded states."""

    sample: Sample
    before: Array
    predictions: Array
    states: Array | None


@dataclasses.dataclass(frozen=True)
class Multistep:
    """A multistep method over the grid `times`; a `Sampler` (see `sampling.base.Sampler`).

    for t, t_next in pairs(times):
        predictions = [prediction(x, t), *predictions[:-1]]
        x = constrain(correct(x), t)          UniPC only, using the newest prediction
        x = constrain(keep x + weights . predictions + spread z, t_next)
    denoise: x = constrain(posterior mean of the data given x, 0), with one more prediction

    `times` [N + 1], `start` and `denoise` as for `sampling.pc.PC`; there is no separate corrector. `lower_final`: use
    lower orders in the last steps; by default only with fewer than 15 steps. One prediction per step.
    Consumes the keys of the examples. Jittable; the loop is a single `lax.scan`.
    Errors: ValueError for times that do not fit the SDE.
    Source: Lu et al. 2022, algorithm 2; Zhao et al. 2023, algorithms 5 to 8; Zhang and Chen 2023, algorithm 1.
    """

    sde: SDE
    method: Method
    times: Sequence[float]
    lower_final: bool | None = None
    denoise: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", checked_times(self.sde, self.times))

    def __call__(
        self,
        key: Array,
        predict: Predict,
        shape: Sequence[int],
        *,
        start: Start | None = None,
        constrain: Constrain = unconstrained,
        trajectory: int = 0,
    ) -> Samples:
        """Samples [B, ...] at the data (`denoise`) or at the last time; see `sampling.base.Sampler`."""
        num, times = shape[0], times_from(tuple(self.times), start)
        num_steps, keys = len(times) - 1, keys_of_examples(key, shape[0])
        x = begin(self.sde, keys, shape, start)
        table = self._table(times, x.dtype)
        grid = jnp.asarray(times, x.dtype)

        def noise(*address: int | Array) -> Array:
            return draw_normal(functools.reduce(fold_in, address, keys), shape)

        def body(state: LoopState, inputs: tuple[Array, Array, Array, Array, Coefficients]) -> tuple[LoopState, None]:
            number, slot, t, t_next, row = inputs
            t, t_next = jnp.full((num,), t), jnp.full((num,), t_next)
            x = state.sample.x
            predictions = jnp.concatenate([self._predict(predict, x, t)[None], state.predictions[:-1]])
            if self.method.corrects:
                x = row.stay * x + row.redo * state.before + _combine(row.fix, predictions)
                x = constrain(noise(SampleKey.STEPS, number, 1, 1), Sample(x, x), t).x
            mean = row.keep * x + _combine(row.weights, predictions)
            moved = mean + row.spread * noise(SampleKey.STEPS, number, 0, 0) if self.method.noisy else mean
            sample = constrain(noise(SampleKey.STEPS, number, 0, 1), Sample(moved, mean), t_next)
            return LoopState(sample, x, predictions, record(state.states, slot, sample.x)), None

        inputs = (jnp.arange(num_steps), trajectory_slots(num_steps, trajectory), grid[:-1], grid[1:], table)
        no_predictions = jnp.zeros((table.weights.shape[1], *x.shape), x.dtype)
        state, _ = jax.lax.scan(body, LoopState(Sample(x, x), x, no_predictions, empty_states(x, trajectory)), inputs)
        sample, ends = state.sample, self.denoise and times[-1] >= 0
        if ends:
            x0 = predict(sample.x, jnp.full((num,), grid[-1])).x0
            sample = constrain(noise(SampleKey.END), Sample(x0, x0), jnp.zeros((num,), x.dtype))
        x = sample.mean if self.denoise else sample.x
        num_evals = jnp.asarray(num_steps * self._calls(x) + int(ends), jnp.int32)
        return Samples(x, num_evals, record(state.states, trajectory - 1, x))

    def _table(self, times: tuple[float, ...], dtype: jnp.dtype) -> Coefficients:
        lower_final = len(times) - 1 < FEW_STEPS if self.lower_final is None else self.lower_final
        table = coefficients(self.sde, self.method, times, lower_final)
        return jax.tree.map(lambda column: jnp.asarray(column, dtype), table)

    def _predict(self, predict: Predict, x: Array, t: Array) -> Array:
        """Posterior mean of the data, or of the noise, given x [B, ...] at t [B]."""
        prediction = predict(x, t)
        return prediction.x0 if self.method.predicts == "data" else prediction.noise

    def _calls(self, x: Array) -> int:
        """Number of predictions in a step."""

        def step(z: Array, predict: Predict, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
            return Sample(self._predict(predict, x, t), x)

        return calls(step, self.sde, x)


def _combine(weights: Array, predictions: Array) -> Array:
    """sum_j weights_j predictions_j of `weights` [P] and `predictions` [P, B, ...], in full precision."""
    return jnp.sum(broadcast_to_rank(weights, predictions) * predictions, axis=0)

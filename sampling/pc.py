"""The predictor-corrector loop, for all single-step samplers, unconditional or constrained."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.keys import SampleKey, draw_normal, fold_in
from corruption.predictions import Gaussian, Predict
from sampling.base import (
    Constrain,
    Sample,
    Samples,
    Start,
    Step,
    begin,
    empty_states,
    keys_of_examples,
    record,
    trajectory_slots,
    unconstrained,
)
from sde.base import SDE

Carry = tuple[Sample, Array | None]  # the sample, and the states recorded so far


@dataclasses.dataclass(frozen=True)
class PC:
    """Predictor-corrector sampling over the grid `times`; a `Sampler` (see `sampling.base.Sampler`).

    for t, t_next in pairs(times):
        num_corrector_steps times:   x = constrain(corrector(x, t), t)
        x = constrain(predictor(x, t -> t_next), t_next)
    denoise: x = constrain(posterior mean of the data given x, 0), with one more prediction

    `times` [N + 1]: decreasing, from `sampling.grids`. The grid of a chain ends below zero, at its data; `denoise` then
    returns the last `mean` instead. `start = (x, t)` replaces all times from t upward by t.
    Consumes the keys of the examples. Jittable; the loop is a single `lax.scan`.
    Errors: ValueError for times that do not fit the SDE, and for a negative number of corrector steps.
    Source: Song et al. 2021, algorithms 1 to 5.
    Notes: published samplers generate a corrector's noise for the batch as a whole, and end with a step of 1/N without
    noise.
    """

    sde: SDE
    predictor: Step
    corrector: Step
    times: Sequence[float]
    num_corrector_steps: int = 1
    denoise: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", checked_times(self.sde, self.times))
        if self.num_corrector_steps < 0:
            raise ValueError(f"num_corrector_steps must not be negative, but is {self.num_corrector_steps}.")

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
        keys = keys_of_examples(key, num)
        x = begin(self.sde, keys, shape, start)

        def noise(*address: int | Array) -> Array:
            return draw_normal(functools.reduce(fold_in, address, keys), shape)

        def body(carry: Carry, inputs: tuple[Array, Array, Array, Array]) -> tuple[Carry, None]:
            (sample, states), (number, slot, t, t_next) = carry, inputs
            t, t_next = jnp.full((num,), t), jnp.full((num,), t_next)

            def correct(i: Array, sample: Sample) -> Sample:
                z, z_constrain = noise(SampleKey.STEPS, number, 1 + i, 0), noise(SampleKey.STEPS, number, 1 + i, 1)
                return constrain(z_constrain, self.corrector(z, predict, self.sde, sample.x, t, t_next), t)

            sample = jax.lax.fori_loop(0, self.num_corrector_steps, correct, sample)
            z, z_constrain = noise(SampleKey.STEPS, number, 0, 0), noise(SampleKey.STEPS, number, 0, 1)
            sample = constrain(z_constrain, self.predictor(z, predict, self.sde, sample.x, t, t_next), t_next)
            return (sample, record(states, slot, sample.x)), None

        grid, num_steps = jnp.asarray(times, x.dtype), len(times) - 1
        inputs = (jnp.arange(num_steps), trajectory_slots(num_steps, trajectory), grid[:-1], grid[1:])
        (sample, states), _ = jax.lax.scan(body, (Sample(x, x), empty_states(x, trajectory)), inputs)
        if self.denoise and times[-1] >= 0:
            x0 = predict(sample.x, jnp.full((num,), grid[-1])).x0
            sample = constrain(noise(SampleKey.END), Sample(x0, x0), jnp.zeros((num,), x.dtype))
        num_evals = self._num_evals(x, num_steps)
        x = sample.mean if self.denoise else sample.x
        return Samples(x, jnp.asarray(num_evals, jnp.int32), record(states, trajectory - 1, x))

    def _num_evals(self, x: Array, num_steps: int) -> int:
        """Predictions in `num_steps` steps and in the final denoising."""
        each = self.num_corrector_steps * calls(self.corrector, self.sde, x) + calls(self.predictor, self.sde, x)
        return num_steps * each + int(self.denoise and self.times[-1] >= 0)


def checked_times(sde: SDE, times: Sequence[float]) -> tuple[float, ...]:
    """The times as floats. Errors: ValueError if they do not decrease, or do not fit the SDE."""
    times = tuple(float(t) for t in times)
    if len(times) < 2 or not all(t > t_next for t, t_next in itertools.pairwise(times)):
        raise ValueError("times must have at least two entries, each below the one before.")
    if times[-2] < 0 or (times[-1] < 0) != sde.is_discrete:
        raise ValueError(
            "times must be those of the SDE: for a chain exactly the last one is below zero (sampling.grids.levels), "
            "for an SDE in continuous time none is."
        )
    return times


def times_from(times: tuple[float, ...], start: Start | None) -> tuple[float, ...]:
    """The grid, or the time of `start` followed by the times below it. Errors: ValueError if there are none."""
    if start is None:
        return times
    below = tuple(t for t in times if t < start[1])
    if not below:
        raise ValueError(
            f"start is at time {start[1]}, where the grid has already ended ({times[-1]}); use a later time."
        )
    return (float(start[1]), *below)


def calls(step: Step, sde: SDE, x: Array) -> int:
    """Number of predictions in one `step` from `x` [B, ...], counted by abstract tracing."""
    count = 0

    def counting(x: Array, t: Array) -> Gaussian:
        nonlocal count
        count += 1
        return Gaussian(x, x)

    t = jax.ShapeDtypeStruct((x.shape[0],), x.dtype)
    jax.eval_shape(lambda z, x, t, t_next: step(z, counting, sde, x, t, t_next), x, x, t, t)
    return count

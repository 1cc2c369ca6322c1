"""The fixed-step loop, for samplers of every kind: a stepper says what a step is, the loop does everything else."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from core.keys import SampleKey, fold_in
from corruption.base import Process
from corruption.predictions import Prediction
from sampling.base import Constrain, Sample, Samples, Start, begin, keys_of_examples, unconstrained

State = Any  # a named tuple with at least the fields `x` and `mean`, as those of `Sample`
AnyPredict = Callable[..., Any]  # (x_t [B, ...], t [B]) -> the prediction that the stepper uses


class Stepper(Protocol):
    """What a fixed-step method does at every time of the grid.

    `keys` [B] are for this step alone: a stepper may sample any noise from them. `row`: this step's row of `table`.
    """

    @property
    def num_corrections(self) -> int:
        """How often `correct` is called before each `step`."""
        ...

    def init(self, x: Array) -> State:
        """The state of the method at the first time, for x [B, ...]."""
        ...

    def calls(self, x: Array) -> int:
        """Number of predictions for one step and its corrections, counted by tracing (`count_calls`)."""
        ...

    def table(self, times: tuple[float, ...], dtype: jnp.dtype) -> Any:
        """What differs between the steps from each of `times` [N + 1] to the next: a pytree of arrays [N, ...]."""
        ...

    def correct(self, keys: Array, predict: AnyPredict, state: State, t: Array, t_next: Array, row: Any) -> State:
        """A change of x at time t, to its next state at the same time."""
        ...

    def step(self, keys: Array, predict: AnyPredict, state: State, t: Array, t_next: Array, row: Any) -> State:
        """A step from t to t_next < t."""
        ...


class OneCall:
    """What steppers have in common whose step is one prediction, without corrections and the same at all times."""

    @property
    def num_corrections(self) -> int:
        """None."""
        return 0

    def init(self, x: Array) -> State:
        """x itself."""
        return Sample(x, x)

    def calls(self, x: Array) -> int:
        """One."""
        return 1

    def table(self, times: tuple[float, ...], dtype: jnp.dtype) -> None:
        """Nothing: every step is the same function of its times."""

    def correct(self, keys: Array, predict: AnyPredict, state: State, t: Array, t_next: Array, row: Any) -> State:
        """The same state."""
        return state


@dataclasses.dataclass(frozen=True)
class FixedStep:
    """Sampling over the grid `times` with a stepper; a `Sampler` (see `sampling.base.Sampler`).

    for t, t_next in pairs(times):
        num_corrections times:   x = constrain(correct(x, t), t)
        x = constrain(step(x, t -> t_next), t_next)
    denoise: x = constrain(posterior mean of the data given x, 0), with one more prediction

    `process`: gives the prior. `times` [N + 1]: decreasing, from `sampling.grids`. The grid of a chain ends below zero,
    at its data; `denoise` then returns the last `mean` instead. `start = (x, t)` replaces all times from t upward by t.
    Consumes the keys of the examples. Jittable; the loop is a single `lax.scan`.
    Errors: ValueError for times that do not fit the process.
    """

    process: Process
    stepper: Stepper
    times: Sequence[float]
    denoise: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", checked_times(self.process, self.times))

    def __call__(
        self,
        key: Array,
        predict: AnyPredict,
        shape: Sequence[int],
        *,
        start: Start | None = None,
        constrain: Constrain = unconstrained,
        trajectory: int = 0,
    ) -> Samples:
        """Samples [B, ...] at the data (`denoise`) or at the last time; see `sampling.base.Sampler`."""
        stepper, num, times = self.stepper, shape[0], times_from(tuple(self.times), start)
        keys, num_steps = keys_of_examples(key, num), len(times) - 1
        x = begin(self.process.prior, keys, shape, start)
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        grid, table = jnp.asarray(times, dtype), stepper.table(times, dtype)

        def constrained(state: State, t: Array, *address: int | Array) -> State:
            sample = constrain(_at(keys, *address), Sample(state.x, state.mean), t)
            return state._replace(**sample._asdict())

        def body(carry: tuple[State, Array | None], inputs: Any) -> tuple[tuple[State, Array | None], None]:
            (state, states), (number, slot, t, t_next, row) = carry, inputs
            t, t_next = jnp.full((num,), t), jnp.full((num,), t_next)

            def correct(i: int | Array, state: State) -> State:
                own = _at(keys, SampleKey.STEPS, number, 1 + i, 0)
                state = stepper.correct(own, predict, state, t, t_next, row)
                return constrained(state, t, SampleKey.STEPS, number, 1 + i, 1)

            state = _repeat(stepper.num_corrections, correct, state)
            own = _at(keys, SampleKey.STEPS, number, 0, 0)
            state = stepper.step(own, predict, state, t, t_next, row)
            state = constrained(state, t_next, SampleKey.STEPS, number, 0, 1)
            return (state, record(states, slot, state.x)), None

        inputs = (jnp.arange(num_steps), slots(num_steps, trajectory), grid[:-1], grid[1:], table)
        states = unrecorded(x, trajectory)
        (state, states), _ = jax.lax.scan(body, (stepper.init(x), states), inputs)
        ends = self.denoise and times[-1] >= 0
        if ends:
            x0 = predict(state.x, jnp.full((num,), grid[-1])).x0
            state = constrained(Sample(x0, x0), jnp.zeros((num,), dtype), SampleKey.END)
        num_evals = jnp.asarray(num_steps * stepper.calls(x) + int(ends), jnp.int32)
        x = state.mean if self.denoise else state.x
        return Samples(x, num_evals, record(states, trajectory - 1, x))


def checked_times(process: Process, times: Sequence[float]) -> tuple[float, ...]:
    """The times as floats. Errors: ValueError if they do not decrease, or do not fit the process."""
    times = tuple(float(t) for t in times)
    if len(times) < 2 or not all(t > t_next for t, t_next in itertools.pairwise(times)):
        raise ValueError("times must have at least two entries, each below the one before.")
    if times[-2] < 0 or (times[-1] < 0) != process.is_discrete:
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


def count_calls(move: Callable[[AnyPredict, Array], Any], blank: Callable[[Array], Prediction], x: Array) -> int:
    """Number of calls of `predict` in `move(predict, x)` for x [B, ...], counted by abstract tracing.

    `blank`: any prediction for x, of the form that `move` expects.
    """
    count = 0

    def counting(x: Array, t: Array) -> Prediction:
        nonlocal count
        count += 1
        return blank(x)

    jax.eval_shape(lambda x: move(counting, x), x)
    return count


def unrecorded(like: Any, trajectory: int) -> Array | None:
    """Room for `record` to store `trajectory` states of the shape and type of `like`; None for 0."""
    return jnp.zeros((trajectory, *like.shape), like.dtype) if trajectory else None


def record(states: Array | None, slot: Array | int, x: Array) -> Array | None:
    """`states` [K, B, ...] with x [B, ...] stored at `slot`; unchanged if the slot is out of range."""
    return None if states is None else states.at[slot].set(x, mode="drop")


def _repeat(num: int, move: Callable[[int | Array, State], State], state: State) -> State:
    """`move(i, state)` for i = 0 ... num - 1, compiled once."""
    if num > 1:
        return jax.lax.fori_loop(0, num, move, state)
    return move(0, state) if num else state


def _at(keys: Array, *address: int | Array) -> Array:
    return functools.reduce(fold_in, address, keys)


def slots(num_steps: int, trajectory: int) -> Array:
    """The slot in which `record` stores the state after each step [N]; `trajectory` for states that are not kept.

    Errors: ValueError for a trajectory of more states than there are steps.
    """
    if not 0 <= trajectory <= num_steps:
        raise ValueError(f"trajectory = {trajectory}, but there are {num_steps} steps: use 0 to {num_steps} states.")
    slot = np.full(num_steps, trajectory, np.int32)
    kept = np.ceil(np.arange(1, trajectory + 1) * num_steps / max(trajectory, 1)).astype(int) - 1
    slot[kept] = np.arange(trajectory)
    return jnp.asarray(slot)

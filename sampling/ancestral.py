"""Ancestral sampling from every corruption process that has a reverse step, continuous or categorical."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from core.arrays import Array
from corruption.base import Process
from sampling.base import Sample
from sampling.loop import AnyPredict


@dataclasses.dataclass(frozen=True)
class Ancestral:
    """x at t_next given x at t, by the process's own reverse step; a `Stepper` (see `sampling.loop.Stepper`)."""

    process: Process
    num_corrections: int = 0

    def init(self, x: Array) -> Sample:
        """x itself."""
        return Sample(x, x)

    def calls(self, x: Array) -> int:
        """One."""
        return 1

    def table(self, times: tuple[float, ...], dtype: jnp.dtype) -> None:
        """Nothing: every step is the same function of its times."""

    def correct(self, keys: Array, predict: AnyPredict, state: Sample, t: Array, t_next: Array, row: Any) -> Sample:
        """The same x."""
        return state

    def step(self, keys: Array, predict: AnyPredict, state: Sample, t: Array, t_next: Array, row: Any) -> Sample:
        """The reverse step."""
        return Sample(*self.process.reverse_step(keys, predict(state.x, t), state.x, t, t_next))

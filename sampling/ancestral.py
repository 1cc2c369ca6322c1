"""Ancestral sampling from every corruption process that has a reverse step, continuous or categorical."""

import dataclasses
from typing import Any

from core.arrays import Array
from corruption.base import Process
from sampling.base import Sample
from sampling.loop import AnyPredict, OneCall


@dataclasses.dataclass(frozen=True)
class Ancestral(OneCall):
    """x at t_next given x at t, by the process's own reverse step; a `Stepper` (see `sampling.loop.Stepper`)."""

    process: Process

    def step(self, keys: Array, predict: AnyPredict, state: Sample, t: Array, t_next: Array, row: Any) -> Sample:
        """The reverse step."""
        return Sample(*self.process.reverse_step(keys, predict(state.x, t), state.x, t, t_next))

"""The step that does nothing."""

from core.arrays import Array
from corruption.predictions import Predict
from sampling.base import Sample, Step
from sde.base import SDE


def none() -> Step:
    """Leaves x unchanged without a prediction; a predictor as well as a corrector."""

    def step(z: Array, predict: Predict, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        return Sample(x, x)

    return step

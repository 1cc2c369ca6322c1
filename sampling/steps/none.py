"""The step that does nothing."""

from core.arrays import Array
from sampling.base import Sample, Step
from sde.base import SDE, ScoreFn


def none() -> Step:
    """Leaves x unchanged without calling the score function; a predictor as well as a corrector."""

    def step(z: Array, score_fn: ScoreFn, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        return Sample(x, x)

    return step

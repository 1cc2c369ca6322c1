"""The row of a task of restoration, or of what the task reconstruct measures."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from core.arrays import Array
from evaluation.metrics.restoration import Baseline
from sampling.inverse.operators.base import LinearOperator

Shape = Sequence[int]


@dataclasses.dataclass(frozen=True)
class OperatorEntry:
    """What is measured of an example, and what the result is compared with.

    `operator`: from the config, the shape of an example, and the mask [1 or B, ...], True for what is known.
    `baseline`: a restoration without a model.
    `ranks`: of the examples that it measures; see `data.shapes.KINDS`.
    `default_mask`: the mask [*sides, 1], or [D] of vectors, if the user gives none; None for tasks without a mask.
    `zero_centered`: whether a user's mask is one of frequencies with zero in the center; the operator has it first.
    `as_data`: `(operator, y)` -> y, in the units of the data, as data [N, *shape], to look at and for the baseline;
    None where y [N, ...] is data itself, in the same units, such as entries or means of x.
    `from_noise`: y is x with noise of `restore.noise_std`, and samples start where the SDE has that noise.
    """

    operator: Callable[[ConfigDict, Shape, Any], LinearOperator]
    baseline: Baseline
    ranks: tuple[int, ...] = (2, 3, 4)
    default_mask: Callable[[ConfigDict, Shape], np.ndarray] | None = None
    zero_centered: bool = False
    as_data: Callable[[Any, Array], Array] | None = None
    from_noise: bool = False

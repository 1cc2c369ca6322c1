"""The interface of a metric: what it is computed from, what it needs, and the column in which it is shown."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from evaluation.metrics.reference import Statistics
from reports.records import Better, Column, Estimate

Arrays = Mapping[str, np.ndarray]  # "features" [N, D], perhaps "logits" [N, K]


class Inputs(NamedTuple):
    """What a metric is computed from: samples, real examples, and the statistics of real examples."""

    samples: Arrays
    real: Arrays
    statistics: Statistics | None
    seed: int


class Metric(NamedTuple):
    """A metric of samples against real examples.

    compute: one or more metrics by name, of inputs that have what `needs` says. needs: of "features" and "logits" (of
    the samples), "real" (features of real examples) and "statistics" (of real examples). fewest: the smallest number of
    examples on each side. column: relative to the metric's `Estimate`; see `column`.
    """

    compute: Callable[[Inputs], dict[str, Estimate]]
    needs: tuple[str, ...]
    fewest: int
    column: Column


def column(heading: str, better: Better, rank: int = 0) -> Column:
    """The column of a metric: the value of its estimate with the error bar."""
    return Column("value", heading, better, error="error", rank=rank)

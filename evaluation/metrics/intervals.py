"""Central intervals of ensembles of samples, and how often they contain the truth."""

import numpy as np

from evaluation.metrics.base import Inputs, Metric, mean_over_examples, per_example
from reports.records import Column, Estimate

LEVEL = 0.9  # of the intervals


def interval(samples: np.ndarray, level: float = LEVEL, axis: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The lower and upper end of the central interval that contains a further sample with probability `level`.

    The quantile p of S samples is their order statistic p (S + 1), between two of them by interpolation: a sample of
    the same distribution is below it with probability p exactly, however few there are. With less than 2 / (1 - level)
    - 1 samples (19 for 0.9), the smallest and the largest bound a smaller share, (S - 1) / (S + 1).
    Source: Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996, definition 6.
    """
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=axis, method="weibull")
    return low, high


def coverage(samples: np.ndarray, truth: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """The share [N] of the values of each example [N, ...] within the interval of its samples [N, S, ...]."""
    low, high = interval(samples, level)
    return per_example((low <= truth) & (truth <= high))


def _coverage(given: Inputs) -> dict[str, Estimate]:
    assert given.ensembles is not None
    return {"interval_coverage": mean_over_examples(coverage(*given.ensembles), level=LEVEL)}


INTERVAL_COVERAGE = Metric(_coverage, ("ensembles",), 1, Column("value", "90% interval covers", error="error"))

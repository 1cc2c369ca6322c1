"""The normalized mean square error of restored examples."""

import numpy as np

from evaluation.metrics.base import Inputs, Metric, column, mean_over_examples, per_example
from reports.records import Estimate


def nmse(restored: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """`sum (restored - truth)^2 / sum truth^2` of each example [N]. Source: fastMRI, arXiv 1811.08839, section 6.1."""
    error, size = (per_example(values.astype(np.float64) ** 2) for values in (restored - truth, truth))
    return error / np.maximum(size, 1e-12)


def _nmse(given: Inputs) -> dict[str, Estimate]:
    assert given.pairs is not None  # it is among the needs
    return {"nmse": mean_over_examples(nmse(given.pairs.prediction, given.pairs.truth))}


NMSE = Metric(_nmse, ("pairs",), 1, column("NMSE", "lower"))

"""How well scores find what is rare: the average precision."""

import numpy as np

from evaluation.metrics.auroc import jackknifed
from evaluation.metrics.base import Inputs, Metric, column
from reports.records import Estimate


def average_precision(scores: np.ndarray, mask: np.ndarray) -> Estimate:
    """`sum_k (R_k - R_(k - 1)) P_k` over thresholds k: the area under precision over recall, in steps.

    scores, mask: [N] of examples or [N, ...] of their pixels. A random score has the share of the mask. Computed by
    scikit-learn; the error bar is that of `evaluation.metrics.auroc`. Errors: ValueError, as there.
    """
    return jackknifed("average precision", _area, scores, mask)


def _area(scores: np.ndarray, mask: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score  # slow to import

    return float(average_precision_score(mask.ravel(), scores.ravel())) if mask.any() else float("nan")


def _average_precision(given: Inputs) -> dict[str, Estimate]:
    assert given.masks is not None
    return {"average_precision": average_precision(*given.masks)}


AVERAGE_PRECISION = Metric(_average_precision, ("masks",), 2, column("average precision", "higher"))

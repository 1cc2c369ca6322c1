"""How often a classifier is right."""

import numpy as np

from evaluation.metrics.base import Inputs, Metric, column, mean_over_examples
from reports.records import Estimate


def accuracy(logits: np.ndarray, labels: np.ndarray) -> Estimate:
    """The share of examples whose class has the largest logit; of equal logits, the first counts.

    logits: [N, K]. labels: [N], 0 ... K - 1. Errors: ValueError for shapes that do not fit.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits {logits.shape} and classes {labels.shape} were given; give [N, K] and [N]")
    return mean_over_examples((logits.argmax(axis=1) == labels).astype(np.float64))


def _accuracy(given: Inputs) -> dict[str, Estimate]:
    assert given.labels is not None
    return {"accuracy": accuracy(given.samples["logits"], given.labels)}


ACCURACY = Metric(_accuracy, ("logits", "labels"), 1, column("accuracy", "higher", rank=2))

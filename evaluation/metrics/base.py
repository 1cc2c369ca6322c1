"""The interface of a metric: what it is computed from, what it needs, and the column in which it is shown."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from evaluation.metrics.reference import Statistics
from reports.records import Better, Column, Estimate

Arrays = Mapping[str, np.ndarray]  # "features" [N, D], perhaps "logits" [N, K]


class Pairs(NamedTuple):
    """Predictions [N, ...] and the truth [N, ...] of the same examples.

    Their values are in [0, 1] unless a `value_range` is given, the largest minus the smallest.
    """

    prediction: np.ndarray
    truth: np.ndarray
    value_range: float | None = None


class Ensembles(NamedTuple):
    """Samples [N, S, ...] of what is predicted for each example, and the truth [N, ...]."""

    samples: np.ndarray
    truth: np.ndarray


class Masks(NamedTuple):
    """Scores [N, ...], higher where more is suspected, and whether it is so [N, ...], bool: of examples or pixels."""

    scores: np.ndarray
    mask: np.ndarray


class Codes(NamedTuple):
    """Tokens [N, ...] of examples, integers below `num_codes`."""

    tokens: np.ndarray
    num_codes: int


class SplitFeatures(NamedTuple):
    """Features of the examples that a model was trained on [M, D], and of others [K, D]."""

    training: np.ndarray
    held_out: np.ndarray


class Inputs(NamedTuple):
    """What metrics are computed from; a metric needs some of it.

    samples, real: features and logits of samples, or of any examples, and of real examples. statistics: of real
    examples. pairs, ensembles, masks: predictions beside the truth. codes: tokens of examples. labels: the classes [N]
    of the examples in `samples`. splits: features of both splits of the data. seed: of subsets.
    """

    samples: Arrays
    real: Arrays
    statistics: Statistics | None = None
    pairs: Pairs | None = None
    ensembles: Ensembles | None = None
    masks: Masks | None = None
    codes: Codes | None = None
    labels: np.ndarray | None = None
    seed: int = 0
    splits: SplitFeatures | None = None


# What a metric may need: how an error calls it, and whether it is there.
NEEDS: dict[str, tuple[str, Callable[[Inputs], bool]]] = {
    "features": ("features of the samples", lambda given: "features" in given.samples),
    "logits": ("logits of the samples: use features of a classifier", lambda given: "logits" in given.samples),
    "real": ("features of real examples; statistics alone are not enough", lambda given: "features" in given.real),
    "statistics": (
        "statistics or features of real examples",
        lambda given: given.statistics is not None or "features" in given.real,
    ),
    "pairs": ("predictions and the truth of the same examples", lambda given: given.pairs is not None),
    "ensembles": ("several samples of each example beside the truth", lambda given: given.ensembles is not None),
    "masks": ("scores beside masks", lambda given: given.masks is not None),
    "codes": ("tokens of examples", lambda given: given.codes is not None),
    "labels": ("the classes of the examples", lambda given: given.labels is not None),
    "splits": ("features of training examples and of held-out ones", lambda given: given.splits is not None),
}
OF_SAMPLES = ("features", "logits", "real", "statistics")  # what samples and data give by themselves


class Metric(NamedTuple):
    """A metric.

    compute: one or more metrics by name, of inputs that have what `needs` says. needs: names of `NEEDS`. fewest: the
    smallest number of examples on each side. column: relative to the metric's `Estimate`; see `column`.
    """

    compute: Callable[[Inputs], dict[str, Estimate]]
    needs: tuple[str, ...]
    fewest: int
    column: Column


def column(heading: str, better: Better, rank: int = 0) -> Column:
    """The column of a metric: the value of its estimate with the error bar."""
    return Column("value", heading, better, error="error", rank=rank)


def mean_of(values: np.ndarray, num_samples: int, num_real: int, warning: str = "", remedy: str = "") -> Estimate:
    """The mean of `values` [n] with its standard error, which a single value does not have."""
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
    source = "standard error of the mean" if len(values) > 1 else "none"
    return Estimate(float(values.mean()), error, source, num_samples, num_real, warning, remedy)


def mean_over_examples(values: np.ndarray, **details: float) -> Estimate:
    """The mean of `values` [N] of examples that are predicted, with its standard error, and other numbers by name."""
    return dataclasses.replace(mean_of(values, 0, 0), details={"num_examples": len(values), **details})


def per_example(values: np.ndarray) -> np.ndarray:
    """The mean [N] of the values [N, ...] of each example, in double precision."""
    return values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)

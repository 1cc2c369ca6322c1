"""All metrics of a set of samples, and their baseline: the same metrics of real examples against real ones."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np

from evaluation.features.files import Rows
from evaluation.metrics import frechet, inception_score, kernel_distance, moments, neighbors
from evaluation.metrics.base import Arrays, Inputs, Metric
from evaluation.metrics.reference import Statistics, statistics
from reports.records import Column, Estimate

SAMPLES, BASELINE = "samples", "data_against_data"  # in a report: metrics of samples, and of real against real examples


def measure(
    samples: Arrays,
    real: Arrays | None = None,
    *,
    reference: Statistics | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, Estimate]:
    """The metrics `names` of `samples`, by name in the order of `METRICS`; a pure function of its arguments.

    samples, real: "features" [N, D] and perhaps "logits" [N, K]; they may be memory-mapped. reference: statistics of
    real examples, used for FID instead of those of `real`. names: by default all that the inputs allow. seed: that of
    FID-infinity's subsets; KID and the Inception score use the seed of torch-fidelity. Errors: ValueError for an
    unknown name, for a metric whose input is missing, and for features that are not finite.
    """
    _check_finite("samples", samples)
    _check_finite("real examples", real or {})
    given = Inputs(samples, real or {}, reference, seed)
    chosen = [metric for metric in METRICS if _missing(metric, given) is None] if names is None else list(names)
    for name in chosen:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}; choose from {', '.join(METRICS)}")
        if (missing := _missing(name, given)) is not None:
            raise ValueError(f"metric {name} needs {missing}")
    if reference is None and real:
        given = given._replace(statistics=_statistics(real, chosen))
    figures: dict[str, Estimate] = {}
    for name in METRICS:
        if name in chosen and name not in figures:
            figures |= METRICS[name].compute(given)
    return {name: figures[name] for name in METRICS if name in chosen}


def columns(names: Iterable[str]) -> tuple[Column, ...]:
    """The columns of a result that holds the metrics `names` of samples and, perhaps, their baselines."""
    chosen = set(names)
    return tuple(
        dataclasses.replace(
            metric.column.below(f"{SAMPLES}.{name}"), baseline=f"{BASELINE}.{name}.{metric.column.path}"
        )
        for name, metric in METRICS.items()
        if name in chosen
    )


def baseline(real: Arrays, *, names: Sequence[str] | None = None, seed: int = 0) -> dict[str, Estimate]:
    """The same metrics of one half of the real examples against the other: what a perfect model would reach.

    The halves are random, from `seed`; each has N // 2 examples, as `num_samples` says, and FID falls with more of
    them. The Inception score is that of real examples. Warnings say that they are about halves, without a remedy: there
    are no more real examples.
    """
    first, second = split_halves(len(real["features"]), seed)

    def half(rows: np.ndarray) -> Arrays:  # rows that stay on disk behave like an array
        return {name: cast(np.ndarray, Rows(values, rows)) for name, values in real.items()}

    figures = measure(half(first), half(second), names=names, seed=seed)
    return {name: _of_halves(figure) if figure.warning else figure for name, figure in figures.items()}


def _of_halves(figure: Estimate) -> Estimate:
    warning = f"real vs. real, one half of the data against the other: {figure.warning}"
    return dataclasses.replace(figure, warning=warning, remedy="")


def split_halves(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint sets of num // 2 row numbers, in ascending order; raises ValueError for fewer than 4 rows."""
    if num < 4:
        raise ValueError(f"{num} real examples cannot be split into halves; give at least 4")
    order = np.random.default_rng(seed).permutation(num)
    return np.sort(order[: num // 2]), np.sort(order[num // 2 : 2 * (num // 2)])


def _check_finite(what: str, arrays: Arrays) -> None:
    """Raises ValueError where features or logits are not [N, D] or not finite."""
    for name, values in arrays.items():
        if values.ndim != 2:
            raise ValueError(f"{name} of the {what} have the shape {values.shape}; give [N, D]")
        for start in range(0, len(values), moments.CHUNK):
            if not np.isfinite(values[start : start + moments.CHUNK]).all():
                raise ValueError(f"{name} of the {what} are not finite from row {start} on")


def _statistics(real: Arrays, chosen: Sequence[str]) -> Statistics | None:
    """The statistics of the real examples, if a metric needs them."""
    needed = any("statistics" in METRICS[name].needs for name in chosen)
    return statistics(moments.of(real["features"])) if needed else None


def _missing(name: str, given: Inputs) -> str | None:
    """The input of a metric that is missing, in words; None if it has all."""
    needs = METRICS[name].needs
    if "features" in needs and "features" not in given.samples:
        return "features of the samples"
    if "logits" in needs and "logits" not in given.samples:
        return "logits of the samples: use features of a classifier"
    if "real" in needs and "features" not in given.real:
        return "features of real examples; statistics alone are not enough"
    if "statistics" in needs and given.statistics is None and "features" not in given.real:
        return "statistics or features of real examples"
    return None


# By name. Each file of this folder defines its metrics beside their formulas.
METRICS: dict[str, Metric] = {
    "fid": frechet.FID,
    "fid_infinity": frechet.FID_INFINITY,
    "kid": kernel_distance.KID,
    "inception_score": inception_score.INCEPTION_SCORE,
    "precision": neighbors.PRECISION,
    "recall": neighbors.RECALL,
    "density": neighbors.DENSITY,
    "coverage": neighbors.COVERAGE,
}

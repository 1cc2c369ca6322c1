"""All metrics of one set of samples, and what the same metrics say of real examples against real examples."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np

from evaluation.features.files import Rows
from evaluation.metrics import moments
from evaluation.metrics.frechet import fid_infinity, fid_of_groups
from evaluation.metrics.inception_score import inception_score
from evaluation.metrics.kernel_distance import kid
from evaluation.metrics.neighbors import neighbours
from evaluation.metrics.reference import Statistics, statistics
from reports.estimate import Estimate

Arrays = Mapping[str, np.ndarray]  # "features" [N, D], perhaps "logits" [N, K]


class Inputs(NamedTuple):
    """What a metric is computed from: samples, real examples, and the statistics of real examples."""

    samples: Arrays
    real: Arrays
    statistics: Statistics | None
    seed: int


def measure(
    samples: Arrays,
    real: Arrays | None = None,
    *,
    reference: Statistics | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, Estimate]:
    """The metrics `names` of `samples`, by name in the order of `METRICS`; a pure function of its arguments.

    samples, real: "features" [N, D] and perhaps "logits" [N, K]; memory-mapped files will do. reference: statistics of
    more real examples than `real` has, used for FID where given. names: by default all that the inputs allow. seed: of
    FID-infinity's subsets; KID and the Inception score draw from the seed of torch-fidelity. Errors: ValueError
    for an unknown name, for a metric whose input is missing, by name, and for features that are not finite.
    """
    _check_finite("samples", samples)
    _check_finite("real examples", real or {})
    given = Inputs(samples, real or {}, reference, seed)
    chosen = [metric for metric in METRICS if _missing(metric, given) is None] if names is None else list(names)
    for name in chosen:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}; choose of {', '.join(METRICS)}")
        if (missing := _missing(name, given)) is not None:
            raise ValueError(f"metric {name} needs {missing}")
    if reference is None and real:
        given = given._replace(statistics=_statistics(real, chosen))
    figures: dict[str, Estimate] = {}
    for name in METRICS:
        if name in chosen and name not in figures:
            figures |= METRICS[name].compute(given)
    return {name: figures[name] for name in METRICS if name in chosen}


def floor(real: Arrays, *, names: Sequence[str] | None = None, seed: int = 0) -> dict[str, Estimate]:
    """The same metrics of one half of the real examples against the other: what a perfect model would reach.

    The halves are drawn from `seed`; each has N // 2 examples, as `num_samples` says: the floor of FID falls with more.
    The Inception score is that of real examples. A warning says that it is of halves; nobody can draw more of them.
    """
    first, second = split_halves(len(real["features"]), seed)

    def half(rows: np.ndarray) -> Arrays:  # for the metrics, rows that stay on disk are as good as an array
        return {name: cast(np.ndarray, Rows(values, rows)) for name, values in real.items()}

    figures = measure(half(first), half(second), names=names, seed=seed)
    return {name: _of_halves(figure) if figure.warning else figure for name, figure in figures.items()}


def _of_halves(figure: Estimate) -> Estimate:
    warning = f"data against data, one half as samples of the other: {figure.warning}"
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
    """Those of the real examples, where a metric needs them."""
    needed = any("statistics" in METRICS[name].needs for name in chosen)
    return statistics(moments.of(real["features"])) if needed else None


def _missing(name: str, given: Inputs) -> str | None:
    """What the inputs lack for a metric, in words."""
    needs = METRICS[name].needs
    if "features" in needs and "features" not in given.samples:
        return "features of the samples"
    if "logits" in needs and "logits" not in given.samples:
        return "logits of the samples: use features of a classifier"
    if "real" in needs and "features" not in given.real:
        return "features of real examples; statistics alone do not do"
    if "statistics" in needs and given.statistics is None and "features" not in given.real:
        return "statistics or features of real examples"
    return None


def _fid(given: Inputs) -> dict[str, Estimate]:
    assert given.statistics is not None  # see _missing
    return {"fid": fid_of_groups(moments.in_groups(given.samples["features"]), given.statistics)}


def _fid_infinity(given: Inputs) -> dict[str, Estimate]:
    assert given.statistics is not None
    return {"fid_infinity": fid_infinity(given.samples["features"], given.statistics, seed=given.seed)}


def _kid(given: Inputs) -> dict[str, Estimate]:
    return {"kid": kid(given.samples["features"], given.real["features"])}


def _inception_score(given: Inputs) -> dict[str, Estimate]:
    num_splits = min(10, len(given.samples["logits"]))
    return {"inception_score": inception_score(given.samples["logits"], num_splits=num_splits)}


def _neighbours(given: Inputs) -> dict[str, Estimate]:
    return neighbours(given.samples["features"], given.real["features"])


class Metric(NamedTuple):
    """How a metric is computed, perhaps together with others, what it needs, and of how many examples on each side."""

    compute: Callable[[Inputs], dict[str, Estimate]]
    needs: tuple[str, ...]
    fewest: int


METRICS: dict[str, Metric] = {
    "fid": Metric(_fid, ("features", "statistics"), 2),
    "fid_infinity": Metric(_fid_infinity, ("features", "statistics"), 4),
    "kid": Metric(_kid, ("features", "real"), 4),
    "inception_score": Metric(_inception_score, ("logits",), 1),
    "precision": Metric(_neighbours, ("features", "real"), 6),
    "recall": Metric(_neighbours, ("features", "real"), 6),
    "density": Metric(_neighbours, ("features", "real"), 6),
    "coverage": Metric(_neighbours, ("features", "real"), 6),
}

"""All metrics by name, those that given inputs allow, and the baseline of metrics of samples: real against real."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np

from core.progress import each
from evaluation.features.files import Rows
from evaluation.metrics import (
    accuracy,
    auroc,
    average_precision,
    codebook,
    crps,
    forecasts,
    frechet,
    inception_score,
    intervals,
    kernel_distance,
    moments,
    neighbors,
    nmse,
    novelty,
    psnr,
    sliced_wasserstein,
    ssim,
)
from evaluation.metrics.base import (
    NEEDS,
    OF_SAMPLES,
    Arrays,
    Codes,
    Ensembles,
    Inputs,
    Masks,
    Metric,
    Pairs,
    SplitFeatures,
)
from evaluation.metrics.reference import Statistics, statistics
from reports.records import Column, Estimate

SAMPLES, BASELINE = "samples", "data_against_data"  # in a report: metrics of samples, and of real against real examples


def measure(
    samples: Arrays | None = None,
    real: Arrays | None = None,
    *,
    reference: Statistics | None = None,
    pairs: Pairs | None = None,
    ensembles: Ensembles | None = None,
    masks: Masks | None = None,
    codes: Codes | None = None,
    labels: np.ndarray | None = None,
    splits: SplitFeatures | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, Estimate]:
    """The metrics `names` of what is given, by name in the order of `METRICS`; a pure function of its arguments.

    samples, real: "features" [N, D] and perhaps "logits" [N, K]; they may be memory-mapped. reference: statistics of
    real examples, used for FID instead of those of `real`. all others: see `Inputs`.
    names: by default all that the inputs allow. seed: that of FID-infinity's subsets; KID and the Inception score use
    the seed of torch-fidelity. Errors: ValueError for an unknown name, for a metric whose input is missing, and for
    values that are not finite.
    """
    _check_features("samples", samples or {})
    _check_features("real examples", real or {})
    for beside in (pairs, ensembles, masks):
        for name, values in beside._asdict().items() if beside is not None else ():
            if isinstance(values, np.ndarray):
                _check_finite(name, values)
    given = Inputs(samples or {}, real or {}, reference, pairs, ensembles, masks, codes, labels, seed, splits)
    chosen = [metric for metric in METRICS if _missing(metric, given) is None] if names is None else list(names)
    for name in chosen:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}; choose from {', '.join(METRICS)}")
        if (missing := _missing(name, given)) is not None:
            raise ValueError(f"metric {name} needs {missing}")
    if reference is None and real:
        given = given._replace(statistics=_statistics(real, chosen))
    figures: dict[str, Estimate] = {}
    distinct = [name for name in METRICS if name in chosen]
    for name in each(distinct, "metrics", len(distinct), "metric"):
        if name not in figures:
            figures |= METRICS[name].compute(given)
    return {name: figures[name] for name in METRICS if name in chosen}


def beyond_samples(name: str) -> str | None:
    """What a metric needs that samples and data do not give by themselves, in words; None if nothing."""
    return next((NEEDS[need][0] for need in METRICS[name].needs if need not in OF_SAMPLES), None)


def columns(names: Iterable[str], variant: str = "", identity: str = "") -> tuple[Column, ...]:
    """The columns of a result that holds the metrics `names` of samples and, perhaps, their baselines.

    variant, identity: the features they are computed from, and their hash; `Extractor.variant` is empty for those of
    published results, whose metrics have no addition to their names.
    """
    chosen = set(names)
    return tuple(
        dataclasses.replace(
            metric.column.varied(variant, identity).below(f"{SAMPLES}.{name}"),
            baseline=f"{BASELINE}.{name}.{metric.column.path}",
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


def _check_features(what: str, arrays: Arrays) -> None:
    """Raises ValueError where features or logits are not [N, D] or not finite."""
    for name, values in arrays.items():
        if values.ndim != 2:
            raise ValueError(f"{name} of the {what} have the shape {values.shape}; give [N, D]")
        for start in range(0, len(values), moments.CHUNK):
            if not np.isfinite(values[start : start + moments.CHUNK]).all():
                raise ValueError(f"{name} of the {what} are not finite from row {start} on")


def _check_finite(what: str, values: np.ndarray) -> None:
    """Raises ValueError for values [N, ...] that are not finite, with the first example that has one."""
    if not (finite := np.isfinite(values)).all():
        raise ValueError(f"the {what} of example {int(np.argwhere(~finite)[0, 0])} is not finite")


def _statistics(real: Arrays, chosen: Sequence[str]) -> Statistics | None:
    """The statistics of the real examples, if a metric needs them."""
    needed = any("statistics" in METRICS[name].needs for name in chosen)
    return statistics(moments.of(real["features"])) if needed else None


def _missing(name: str, given: Inputs) -> str | None:
    """The input of a metric that is missing, in words; None if it has all."""
    needs = (NEEDS[need] for need in METRICS[name].needs)
    return next((words for words, is_given in needs if not is_given(given)), None)


# By name. Each file of this folder defines its metrics beside their formulas.
METRICS: dict[str, Metric] = {
    "fid": frechet.FID,
    "fid_infinity": frechet.FID_INFINITY,
    "kid": kernel_distance.KID,
    "sliced_wasserstein": sliced_wasserstein.SLICED_WASSERSTEIN,
    "inception_score": inception_score.INCEPTION_SCORE,
    "precision": neighbors.PRECISION,
    "recall": neighbors.RECALL,
    "density": neighbors.DENSITY,
    "coverage": neighbors.COVERAGE,
    "novelty": novelty.NOVELTY,
    "near_copies": novelty.NEAR_COPIES,
    "psnr": psnr.PSNR,
    "ssim": ssim.SSIM,
    "nmse": nmse.NMSE,
    "crps": crps.CRPS,
    "interval_coverage": intervals.INTERVAL_COVERAGE,
    "energy_score": forecasts.ENERGY_SCORE,
    "quantile_loss": forecasts.QUANTILE_LOSS,
    "interval_50": forecasts.INTERVAL_50,
    "accuracy": accuracy.ACCURACY,
    "auroc": auroc.AUROC,
    "average_precision": average_precision.AVERAGE_PRECISION,
    "usage": codebook.USAGE,
    "perplexity": codebook.PERPLEXITY,
}

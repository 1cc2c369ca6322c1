"""Scores of probabilistic forecasts: ensembles of samples of each window, and what came true."""

import numpy as np

from evaluation.metrics.base import Ensembles, Inputs, Metric, column, mean_over_examples, per_example
from evaluation.metrics.intervals import interval
from reports.records import Column, Estimate

LEVELS = tuple(k / 10 for k in range(1, 10))  # of quantiles


def quantile_loss(samples: np.ndarray, truth: np.ndarray, levels: tuple[float, ...] = LEVELS) -> np.ndarray:
    """The weighted quantile loss of each example, [N], whose mean is that of all.

        2 mean_q sum max(q (y - f_q), (q - 1) (y - f_q)) / sum |y|

    f_q: the quantiles of samples [N, S, ...]; truth: y [N, ...], NaN where it is missing, which does not count. The
    sums are over all values of all examples; an example's share is in units of the mean. Source: Park et al., "Learning
    Quantile Functions without Quantile Crossing for Distribution-free Time Series Forecasting", AISTATS 2022.
    """
    found = np.stack([np.quantile(samples, level, axis=1) for level in levels])
    error = truth[None] - found
    q = np.reshape(levels, (-1, *(1,) * truth.ndim))
    return _share(2 * np.maximum(q * error, (q - 1) * error).mean(axis=0), truth)


def coverage(samples: np.ndarray, truth: np.ndarray, share: float) -> np.ndarray:
    """The share of the known values of each example, [N], in the central interval for a `share` of all values."""
    low, high = interval(samples, share)
    inside = np.where(np.isnan(truth), np.nan, (low <= truth) & (truth <= high))
    return np.nanmean(inside.reshape(len(truth), -1), axis=1)


def deviation(samples: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Normalized deviation, [N]: `sum |median - y| / sum |y|`, shared among examples as in `quantile_loss`."""
    return _share(np.abs(np.median(samples, axis=1) - truth), truth)


def root_mean_square(samples: np.ndarray, truth: np.ndarray) -> float:
    """Normalized root mean square error: `sqrt(mean (mean of the samples - y)^2) / mean |y|`, over all values."""
    error = samples.mean(axis=1) - truth
    return float(np.sqrt(np.nanmean(error**2)) / np.nanmean(np.abs(truth)))


def scaled_error(samples: np.ndarray, truth: np.ndarray, context: np.ndarray, season: int) -> np.ndarray:
    """MASE of each example, [N]: `mean |median - y| / mean |x_t - x_(t - season)|` of its context x [N, T, ...].

    NaN where the context repeats itself, is shorter than a season, or has no two values a season apart. Source: Hyndman
    and Koehler, "Another Look at Measures of Forecast Accuracy", 2006.
    """
    error = np.abs(np.median(samples, axis=1) - truth).reshape(len(truth), -1)
    naive = np.abs(context[:, season:] - context[:, :-season]).reshape(len(truth), -1)
    if not naive.size:
        return np.full(len(truth), np.nan)
    counts = np.isfinite(naive).sum(axis=1)
    usual = np.nansum(naive, axis=1) / np.maximum(counts, 1)
    return np.where(usual > 0, np.nanmean(error, axis=1) / np.where(usual > 0, usual, 1.0), np.nan)


def energy_score(samples: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The energy score of each example as a vector, [N]: `mean_i |x_i - y| - 1/2 mean_ij |x_i - x_j|`.

    The second mean is over all pairs. The CRPS is that of one value. Source: Gneiting and Raftery, "Strictly Proper
    Scoring Rules", 2007, equation 22; computed by scoringrules.
    """
    from scoringrules import es_ensemble  # slow to import

    num = samples.shape[1]
    return np.array(  # one at a time: each takes an array of S x S x D
        [
            es_ensemble(y.reshape(-1).astype(float), x.reshape(num, -1).astype(float))
            for x, y in zip(samples, truth, strict=True)
        ]
    )


def _share(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The sum of the values [N, ...] of each example, in units of the mean over examples of that of |truth|: [N]."""
    known = ~np.isnan(truth)
    size = np.where(known, np.abs(truth), 0.0).sum() / len(truth)
    return np.where(known, values, 0.0).reshape(len(truth), -1).sum(axis=1) / max(size, np.finfo(float).tiny)


def _ensembles(given: Inputs) -> Ensembles:
    assert given.ensembles is not None
    return given.ensembles


def _quantile_loss(given: Inputs) -> dict[str, Estimate]:
    return {"quantile_loss": mean_over_examples(quantile_loss(*_ensembles(given)))}


def _coverage(given: Inputs) -> dict[str, Estimate]:
    return {"interval_50": mean_over_examples(coverage(*_ensembles(given), 0.5))}


def _energy_score(given: Inputs) -> dict[str, Estimate]:
    return {"energy_score": mean_over_examples(per_example(energy_score(*_ensembles(given))))}


QUANTILE_LOSS = Metric(_quantile_loss, ("ensembles",), 1, column("quantile loss", "lower"))
INTERVAL_50 = Metric(_coverage, ("ensembles",), 1, Column("value", "50% interval covers", error="error"))
ENERGY_SCORE = Metric(_energy_score, ("ensembles",), 1, column("energy score", "lower"))

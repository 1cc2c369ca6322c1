"""The continuous ranked probability score of ensembles of samples."""

import numpy as np

from evaluation.metrics.base import Inputs, Metric, column, mean_over_examples, per_example
from reports.records import Estimate


def crps(samples: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The score of each value [N, ...], in its units, and the same without the bias of few samples.

        CRPS = integral (F(z) - 1{y <= z})^2 dz = mean_i |x_i - y| - 1/2 mean_ij |x_i - x_j|

    samples: [N, S, ...], with the distribution function F; truth: y [N, ...]. The second mean is over all S^2 pairs, in
    the unbiased form over the S (S - 1) pairs of different samples. Errors: ValueError for shapes that do not fit, and
    fewer than two samples. Source: Gneiting and Raftery, "Strictly Proper Scoring Rules", 2007, equation 21; Ferro,
    "Fair Scores for Ensemble Forecasts", 2014.
    """
    num = samples.shape[1]
    if samples[:, 0].shape != truth.shape or num < 2:
        raise ValueError(f"samples {samples.shape} of {truth.shape} were given; give [N, S, ...], S at least 2")
    x = np.sort(np.asarray(samples, np.float64), axis=1)
    distance = np.abs(x - truth[:, None]).mean(axis=1)
    # Each x_(i) is the larger of i - 1 pairs and the smaller of S - i.
    weights = 2 * np.arange(1, num + 1) - num - 1
    spread = np.tensordot(x, weights, axes=(1, 0)) / num**2  # 1/2 mean_ij |x_i - x_j|
    return distance - spread, distance - spread * num / (num - 1)


def _crps(given: Inputs) -> dict[str, Estimate]:
    assert given.ensembles is not None
    scores, unbiased = crps(*given.ensembles)
    return {"crps": mean_over_examples(per_example(scores), unbiased=float(unbiased.mean()))}


CRPS = Metric(_crps, ("ensembles",), 1, column("CRPS", "lower"))

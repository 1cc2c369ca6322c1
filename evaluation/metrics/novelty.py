"""Whether samples are new: how far they are from the nearest training example, beside how far held-out data are."""

import numpy as np

from evaluation.metrics.base import Inputs, Metric, SplitFeatures, column
from evaluation.metrics.neighbors import distances_of
from reports.records import Better, Estimate

COPYING = 0.9  # novelty below which samples are called copies
NEAR = 0.01  # of held-out examples: as near as the nearest of them are near copies
CHUNK_BYTES = 2**27


def novelty(samples: np.ndarray, splits: SplitFeatures) -> dict[str, Estimate]:
    """Novelty and the share of near copies of samples [N, D].

        novelty = median_i d(x_i) / median_j d(x'_j),    d(x) = min_k |x - y_k|
        near_copies = share of samples with d(x_i) < q,  q: the 1 % quantile of d(x'_j)

    y [M, D]: the training examples; x' [K, D]: the held-out ones, with novelty 1 and 1 % near copies.
    Errors: ValueError for held-out examples if half of them are training examples, too.
    """
    held_out = nearest(splits.held_out, splits.training)
    return from_distances(nearest(samples, splits.training), held_out)


def nearest(x: np.ndarray, training: np.ndarray) -> np.ndarray:
    """The Euclidean distance of each x [N, D] to the nearest training example [M, D]: [N]."""
    center = training.mean(0, dtype=np.float64)
    found = [squares.min(1) for _, squares in distances_of(x, training, center, CHUNK_BYTES)]
    return np.sqrt(np.concatenate(found))


def from_distances(samples: np.ndarray, held_out: np.ndarray) -> dict[str, Estimate]:
    """The same, from the distances of samples [N] and of held-out examples [K]; see `novelty`."""
    usual = float(np.median(held_out))
    if not usual > 0:
        raise ValueError(
            "half of the held-out examples are training examples, too, so that nothing can be said about copies; give "
            "data with a test split of its own"
        )
    value, counts = float(np.median(samples)) / usual, (len(samples), len(held_out))
    error = float(np.hypot(_median_error(samples), value * _median_error(held_out))) / usual
    warning = f"samples are nearer to training examples than held-out examples are: novelty {value:.2f}"
    remedy = "start with more noise (config.sampling.start_noise)"
    warned = (warning, remedy) if value < COPYING else ("", "")
    close = samples < np.quantile(held_out, NEAR)
    spread = float(np.sqrt(close.mean() * (1 - close.mean()) / len(close)))
    return {
        "novelty": Estimate(value, error, "order statistics of the medians", *counts, *warned),
        "near_copies": Estimate(float(close.mean()), spread, "standard error of the mean", *counts),
    }


def _median_error(values: np.ndarray) -> float:
    """The standard error of a median: half the distance of the quantiles 1/2 -+ 1 / (2 sqrt(n))."""
    half = 0.5 / np.sqrt(len(values))
    low, high = np.quantile(values, [max(0.5 - half, 0), min(0.5 + half, 1)])
    return float(high - low) / 2


def _novelty(given: Inputs) -> dict[str, Estimate]:
    assert given.splits is not None  # the metric needs them
    return novelty(given.samples["features"], given.splits)


def _metric(heading: str, better: Better) -> Metric:
    return Metric(_novelty, ("features", "splits"), 2, column(heading, better))


NOVELTY, NEAR_COPIES = _metric("novelty", "higher"), _metric("near copies", "lower")

"""The sliced Wasserstein distance between features."""

import numpy as np

from evaluation.metrics.base import Inputs, Metric, column
from evaluation.metrics.moments import CHUNK
from reports.records import Estimate

NUM_DIRECTIONS = 500
BLOCK = 50  # directions whose distances are computed at a time


def sliced_wasserstein(samples: np.ndarray, real: np.ndarray, seed: int = 0) -> Estimate:
    """The distance of features a [N, D] and b [M, D], in their own units, averaged over directions w on the sphere.

        SW^2 = mean over w of the integral over q in (0, 1) of (F_a^-1(q) - F_b^-1(q))^2,   F the distribution of w . x

    Finite sets of one distribution have a
    distance, too, about (1 / N + 1 / M)^(1/2) of their spread, so that it is compared with that of real against real.
    Directions come from the seed; the error bar is their standard error. Errors: ValueError for features that cannot be
    compared. Source: Rabin et al., "Wasserstein Barycenter and Its Application to Texture Mixing", 2011; Bonneel et
    al., "Sliced and Radon Wasserstein Barycenters of Measures", 2015.
    """
    if samples.ndim != 2 or real.ndim != 2 or samples.shape[1] != real.shape[1]:
        raise ValueError(f"features {samples.shape} and {real.shape} cannot be compared; give [N, D] and [M, D]")
    directions = np.random.default_rng(seed).normal(size=(NUM_DIRECTIONS, samples.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    a, b = (_projected(side, directions) for side in (samples, real))
    blocks = np.split(np.arange(NUM_DIRECTIONS), range(BLOCK, NUM_DIRECTIONS, BLOCK))
    squares = np.concatenate([squared_distances(a[:, w], b[:, w]) for w in blocks])
    distance = float(np.sqrt(squares.mean()))
    error = float(squares.std(ddof=1) / np.sqrt(NUM_DIRECTIONS) / (2 * max(distance, np.finfo(np.float64).tiny)))
    source = f"standard error of {NUM_DIRECTIONS} directions"
    return Estimate(distance, error, source, len(samples), len(real))


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The squared Wasserstein distances [K] of the columns of a [N, K] and b [M, K], exactly.

    Quantiles are constant between the multiples of 1 / N and 1 / M.
    """
    N, M = len(a), len(b)
    ends = np.union1d(np.arange(1, N + 1) * M, np.arange(1, M + 1) * N)  # of the pieces, in units of 1 / (N M)
    widths = np.diff(ends, prepend=0) / (N * M)
    difference = np.sort(a, axis=0)[(ends - 1) // M] - np.sort(b, axis=0)[(ends - 1) // N]
    return widths @ difference**2


def _projected(features: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """w . x of every row, [N, K], in double precision; `features` may be a memory-mapped file."""
    chunks = range(0, len(features), CHUNK)
    return np.concatenate([features[i : i + CHUNK].astype(np.float64) @ directions.T for i in chunks])


def _sliced_wasserstein(given: Inputs) -> dict[str, Estimate]:
    return {"sliced_wasserstein": sliced_wasserstein(given.samples["features"], given.real["features"])}


SLICED_WASSERSTEIN = Metric(_sliced_wasserstein, ("features", "real"), 2, column("sliced Wasserstein", "lower"))

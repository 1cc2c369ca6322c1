"""Fidelity and diversity from nearest neighbors: precision, recall, density and coverage."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from evaluation.metrics.base import Inputs, Metric, column, mean_of
from reports.records import Estimate

BLOCK = 4096  # columns that are brought to double precision at a time
FEW = 1000  # below, there is a warning
SLACK = 1e-12  # squared distances that differ by less, against the variance of real features, are equal


class Balls(NamedTuple):
    """Squared radii of balls: around real examples [M], to the k-th and the k'-th neighbor, and around samples [N]."""

    real: np.ndarray
    real_density: np.ndarray
    samples: np.ndarray


def neighbors(
    samples: np.ndarray, real: np.ndarray, *, k: int = 3, k_density: int = 5, chunk_bytes: int = 2**27
) -> dict[str, Estimate]:
    """Precision, recall, density and coverage of features [N, D] against real ones [M, D].

    B_k(x) is the closed ball around x that reaches its k-th neighbor in its own set, not counting x itself.

        precision = fraction of samples in some B_k(real)      recall = fraction of real examples in some B_k(sample)
        density   = mean over samples of |{B_k'(real) that contain it}| / k'
        coverage  = fraction of B_k'(real) that contain a sample

    k, k_density: k and k'. Distances are Euclidean, in double precision, in chunks of `chunk_bytes`. Each error is the
    standard error of the mean for fixed balls. Errors: ValueError for features that cannot be compared, and if there
    are not more examples than k and k'. Source: Kynkaanniemi et al., "Improved Precision and Recall Metric", 2019,
    equations (1) to (3), k = 3; Naeem et al., "Reliable Fidelity and Diversity Metrics", 2020, section 3, k' = 5.

    Notes: balls are closed for all four, as in the papers' text; some programs exclude the boundary. Distances that
    differ only by rounding count as equal, so that a copy of a real example is where the example is.
    """
    if samples.ndim != 2 or real.ndim != 2 or samples.shape[1] != real.shape[1]:
        raise ValueError(f"features {samples.shape} and {real.shape} cannot be compared; give [N, D] and [M, D]")
    if k < 1 or k_density < 1 or min(len(samples), len(real)) <= max(k, k_density):
        raise ValueError(
            f"neighbors {k} and {k_density} of {len(samples)} samples and {len(real)} real examples were requested; "
            "there must be more examples than neighbors"
        )
    center = np.mean([block.mean(0) for block in _blocks(real)], axis=0)  # near the center, distances lose no digits
    radius, radius_density = _radii(real, center, (k, k_density), chunk_bytes)
    balls = Balls(radius, radius_density, _radii(samples, center, (k,), chunk_bytes)[0])
    hits = _hits(samples, real, center, balls, chunk_bytes)
    hits["density"] = hits["density"] / k_density
    warning = _warning(len(samples), len(real))
    return {name: mean_of(values, len(samples), len(real), *warning) for name, values in hits.items()}


def _warning(num_samples: int, num_real: int) -> tuple[str, str]:
    """A sentence, the same for all four, if examples are few, and what to do: only samples can be generated."""
    if min(num_samples, num_real) >= FEW:
        return "", ""
    warning = (
        f"{num_samples} samples and {num_real} real examples are few for nearest neighbors: precision, recall, "
        "density and coverage depend on these numbers"
    )
    remedy = "compare only with results of equally many" if num_real < FEW else f"generate at least {FEW} samples"
    return warning, remedy


def _hits(
    samples: np.ndarray, real: np.ndarray, center: np.ndarray, balls: Balls, chunk_bytes: int
) -> dict[str, np.ndarray]:
    """The values to average: of each sample (precision, density) or real example (recall, coverage)."""
    slack = SLACK * sum(float(((block - center[None, :]) ** 2).sum()) for block in _blocks(real)) / len(real)
    precise, counts = np.zeros(len(samples), bool), np.zeros(len(samples), np.int64)
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for rows, distances in distances_of(real, samples, center, chunk_bytes):
        precise |= (distances <= balls.real[rows, None] + slack).any(0)
        recalled[rows] = (distances <= balls.samples[None, :] + slack).any(1)
        inside = distances <= balls.real_density[rows, None] + slack
        counts += inside.sum(0)
        covered[rows] = inside.any(1)
    return {"precision": precise, "recall": recalled, "density": counts, "coverage": covered}


def _radii(x: np.ndarray, center: np.ndarray, ks: tuple[int, ...], chunk_bytes: int) -> list[np.ndarray]:
    """Squared distances of each x [N, D] from its k-th neighbors, [N] for each k."""
    radii = [np.empty(len(x)) for _ in ks]
    for rows, distances in distances_of(x, x, center, chunk_bytes):
        nearest = np.partition(distances, sorted(set(ks)), axis=1)  # the nearest is x itself
        for radius, k in zip(radii, ks, strict=True):
            radius[rows] = nearest[:, k]
    return radii


def distances_of(
    x: np.ndarray, y: np.ndarray, center: np.ndarray, chunk_bytes: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances |x|^2 - 2 x . y + |y|^2 between some rows of x and all of y, [rows, len(y)], chunk by chunk."""
    num_rows = max(1, chunk_bytes // (8 * len(y)))
    for start in range(0, len(x), num_rows):
        a = x[start : start + num_rows].astype(np.float64) - center[None, :]
        distances = np.empty((len(a), len(y)))
        for i, block in enumerate(_blocks(y)):
            b = block - center[None, :]
            distances[:, i * BLOCK : (i + 1) * BLOCK] = (a**2).sum(1)[:, None] - 2 * (a @ b.T) + (b**2).sum(1)[None, :]
        yield slice(start, start + len(a)), np.maximum(distances, 0, out=distances)


def _blocks(x: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of x, some at a time, in double precision."""
    for start in range(0, len(x), BLOCK):
        yield x[start : start + BLOCK].astype(np.float64)


def _neighbors(given: Inputs) -> dict[str, Estimate]:
    return neighbors(given.samples["features"], given.real["features"])


def _metric(heading: str) -> Metric:
    """One of the four: computing one of them gives all."""
    return Metric(_neighbors, ("features", "real"), 6, column(heading, "higher"))


PRECISION, RECALL, DENSITY, COVERAGE = map(_metric, ("precision", "recall", "density", "coverage"))

"""The kernel distance between features (KID)."""

import numpy as np

from evaluation.metrics.base import Inputs, Metric, column
from reports.records import Estimate

Indices = list[tuple[np.ndarray, np.ndarray]]


def kid(
    samples: np.ndarray,
    real: np.ndarray,
    *,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
    subsets: Indices | None = None,
) -> Estimate:
    """The squared maximum mean discrepancy of features [N, D] and [M, D], averaged over subsets of both.

        MMD^2 = sum_{i != j} k(x_i, x_j) / (m (m - 1)) + sum_{i != j} k(y_i, y_j) / (m (m - 1))
                - 2 sum_{i, j} k(x_i, y_j) / m^2,        k(x, y) = (x . y / D + 1)^3

    This is unbiased and may therefore be negative. subset_size: m; if a side has fewer examples, it becomes half
    the smaller side, with a warning. The subsets are chosen as in torch-fidelity, so that equal seeds give equal
    results; `subsets`, pairs of row numbers, replaces them. The value is the mean and the error the standard deviation
    over subsets, as published, also stored as "standard_deviation"; "standard_error" is that divided by
    sqrt(num_subsets): the variation between choices of subsets, not of samples, since subsets overlap. Errors:
    ValueError for features that cannot be compared, and for subsets of fewer than 2. Source: Binkowski et al.,
    "Demystifying MMD GANs", 2018, section 4; Gretton et al., "A Kernel Two-Sample Test", 2012, equation (3).
    """
    if samples.ndim != 2 or real.ndim != 2 or samples.shape[1] != real.shape[1]:
        raise ValueError(f"features {samples.shape} and {real.shape} cannot be compared; give [N, D] and [M, D]")
    warning, remedy, fewest = "", "", min(len(samples), len(real))
    if subsets is None:
        if fewest < subset_size:
            subset_size = fewest // 2
            warning = (
                f"KID is the mean over subsets of {subset_size}, half of the smaller of {len(samples)} samples and "
                f"{len(real)} real examples, not over the larger subsets of published results"
            )
            remedy = "compare it, and its deviation, only with those of subsets of this size"
        if subset_size < 2 or num_subsets < 1:
            raise ValueError(
                f"KID of {num_subsets} subsets of {subset_size} was requested; give at least 1 subset of 2"
            )
        subsets = choose_subsets(len(samples), len(real), num_subsets, subset_size, seed)
    values = np.array([squared_discrepancy(samples[a], real[b]) for a, b in subsets])
    deviation = float(values.std())
    return Estimate(
        float(values.mean()),
        deviation,
        f"standard deviation over {len(subsets)} subsets of {len(subsets[0][0])}",
        len(samples),
        len(real),
        warning,
        remedy,
        {"standard_deviation": deviation, "standard_error": deviation / float(np.sqrt(len(subsets)))},
    )


def choose_subsets(num_samples: int, num_real: int, num_subsets: int, subset_size: int, seed: int = 2020) -> Indices:
    """Row numbers of the subsets, without replacement, from the generator that torch-fidelity uses."""
    rng = np.random.RandomState(seed)

    def choose(num: int) -> np.ndarray:
        return rng.choice(num, subset_size, replace=False)

    return [(choose(num_samples), choose(num_real)) for _ in range(num_subsets)]


def squared_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased MMD^2 of x [m, D] and y [n, D] with the kernel of degree three, in double precision; see `kid`."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    within = 0.0
    for z in (x, y):
        kernel = _kernel(z, z)
        within += (kernel.sum() - np.trace(kernel)) / (len(z) * (len(z) - 1))
    return float(within - 2 * _kernel(x, y).mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x . y / D + 1)^3 of every pair, [m, n]."""
    base = x @ y.T
    base /= x.shape[1]
    base += 1
    cube = base * base
    cube *= base
    return cube


def _kid(given: Inputs) -> dict[str, Estimate]:
    return {"kid": kid(given.samples["features"], given.real["features"])}


KID = Metric(_kid, ("features", "real"), 4, column("KID", "lower"))

"""The Frechet distance between features (FID), its error bar, and its limit for infinitely many samples."""

from collections.abc import Sequence

import numpy as np

from evaluation.metrics import moments
from evaluation.metrics.base import Inputs, Metric, column
from evaluation.metrics.moments import Moments
from evaluation.metrics.reference import Statistics, statistics
from reports.records import Estimate


def frechet_distance(mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray) -> float:
    """The squared Wasserstein-2 distance of two Gaussians, means [D] and covariances [D, D].

        d^2 = |mu1 - mu2|^2 + Tr(S1) + Tr(S2) - 2 Tr sqrt(S1^1/2 S2 S1^1/2)

    The root is that of a symmetric positive semidefinite matrix. The result is therefore real, finite for covariances
    without full rank, and nonnegative up to rounding; of equal Gaussians it is 0. Raises ValueError for shapes
    that do not match. Source: Dowson and Landau, 1982; Heusel et al., "GANs Trained by a Two Time-Scale Update Rule",
    2017, equation (6).

    Notes: common evaluators take the root of S1 S2, which is not symmetric, and discard imaginary parts.
    """
    mu1, sigma1, mu2, sigma2 = (np.asarray(array, np.float64) for array in (mu1, sigma1, mu2, sigma2))
    return _distance_to(Statistics(mu1, sigma1, None, {}), mu2, _factor(sigma2), sigma2)


def fid(samples: Statistics, real: Statistics) -> Estimate:
    """The distance of two statistics, without an error bar; see `frechet_distance`."""
    value = frechet_distance(samples.mu, samples.sigma, real.mu, real.sigma)
    return Estimate(value, float("nan"), "none", samples.num, real.num, *_warning(samples, real))


def fid_of_groups(groups: Sequence[Moments], real: Statistics) -> Estimate:
    """The distance of all groups together from `real`, with an error bar from leaving out one group at a time.

        error^2 = (G - 1) / G  sum_g (d_g - mean d)^2,   d_g the distance without group g

    groups: G disjoint parts of the samples, as `moments.GroupedMoments` returns them. The error bar says how much the
    distance varies between sets of samples of this size, for fixed `real`. Source: Efron and Stein, "The Jackknife
    Estimate of Variance", 1981.
    """
    factor = _factor(real.sigma)
    groups = [group for group in groups if group.num]
    everything = statistics(moments.merge_all(groups))
    error, source = float("nan"), "none"
    if len(groups) > 2:
        rests = (moments.merge_all([*groups[:g], *groups[g + 1 :]]) for g in range(len(groups)))  # one at a time
        without = [_distance_to(statistics(rest), real.mu, factor, real.sigma) for rest in rests]
        error = float(np.sqrt((len(groups) - 1) * np.var(without)))
        source = f"jackknife over {len(groups)} groups of samples"
    return Estimate(
        _distance_to(everything, real.mu, factor, real.sigma),
        error,
        source,
        everything.num,
        real.num,
        *_warning(everything, real),
    )


def fid_infinity(
    features: np.ndarray, real: Statistics, *, num_points: int = 15, smallest: int | None = None, seed: int = 0
) -> Estimate:
    """The limit of FID for infinitely many samples, from a line through its values for subsets of N_i samples.

        FID(N_i) = FID_infinity + slope / N_i,   N_i evenly spaced from `smallest` to N

    features: [N, D]. smallest: by default 5000, as in the paper, but at most N / 2. The subsets are chosen without
    replacement, from `seed`. The error is that of the intercept of the fit: since subsets share samples, it is a lower
    bound on the variation between sets of samples. Errors: ValueError for fewer than 3 points or 4 samples. Source:
    Chong and Forsyth, "Effectively Unbiased FID and Inception Score", 2020, section 3.2.

    Notes: the paper also generates the samples by quasi-Monte Carlo; here they are used as given.
    """
    num = len(features)
    smallest = min(5000, num // 2) if smallest is None else smallest
    if num_points < 3 or not 2 <= smallest < num:
        raise ValueError(
            f"FID-infinity of {num} samples from {num_points} subsets of at least {smallest} was requested; it takes 3 "
            "subsets, each of at least 2 and fewer than all samples"
        )
    factor = _factor(real.sigma)
    sizes = np.linspace(smallest, num, num_points).astype(int)
    rng = np.random.default_rng(seed)
    values = []
    for size in sizes:
        subset = np.sort(rng.permutation(num)[:size])
        values.append(_distance_to(statistics(moments.of(features, subset)), real.mu, factor, real.sigma))
    limit, slope, error = line_fit(1 / sizes, np.array(values))
    warning = "" if smallest >= features.shape[1] else (
        f"FID-infinity was fitted to subsets of {smallest} or more samples, but there are {features.shape[1]} "
        "features: FID is not linear in 1/N there"
    )  # fmt: skip
    source = f"standard error of the intercept of {num_points} subsets"
    return Estimate(limit, error, source, num, real.num, warning, details={"slope": slope, "smallest_subset": smallest})


def _distance_to(samples: Statistics, mu: np.ndarray, factor: np.ndarray, sigma: np.ndarray) -> float:
    """`frechet_distance` of `samples` from a Gaussian whose covariance is sigma = F F^T, F = `factor` [D, rank].

    The trace of the root is the sum of the roots of the eigenvalues of F^T S F. For n samples, no more than n - 1 of
    them differ from 0: the others are rounding errors, whose roots would add up.
    """
    if samples.mu.shape != mu.shape or samples.sigma.shape != sigma.shape or sigma.shape != (len(mu), len(mu)):
        raise ValueError(
            f"statistics {samples.mu.shape}, {samples.sigma.shape} and {mu.shape}, {sigma.shape} cannot be compared: "
            "they are of different features"
        )
    product = factor.T @ samples.sigma @ factor
    eigenvalues = np.linalg.eigvalsh((product + product.T) / 2)[::-1]
    rank = None if samples.num is None else samples.num - 1
    root_trace = np.sqrt(np.maximum(eigenvalues[:rank], 0)).sum()  # negative only by rounding
    difference = samples.mu - mu
    return float(difference @ difference + np.trace(samples.sigma) + np.trace(sigma) - 2 * root_trace)


def _factor(sigma: np.ndarray) -> np.ndarray:
    """F = V diag(sqrt(l)) [D, rank] of a covariance F F^T; eigenvalues l below D eps max l are rounding errors of 0."""
    eigenvalues, vectors = np.linalg.eigh((sigma + sigma.T) / 2)
    kept = eigenvalues > len(sigma) * np.finfo(np.float64).eps * eigenvalues.max(initial=0)
    return vectors[:, kept] * np.sqrt(eigenvalues[kept])


def line_fit(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Intercept and slope of the least-squares line through x, y [n], and the intercept's standard error."""
    design = np.stack([np.ones_like(x), x], axis=1)
    (intercept, slope), *_ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ np.array([intercept, slope])
    spread = x - x.mean()
    variance = residual @ residual / (len(x) - 2) * (1 / len(x) + x.mean() ** 2 / (spread @ spread))
    return float(intercept), float(slope), float(np.sqrt(variance))


def _warning(samples: Statistics, real: Statistics) -> tuple[str, str]:
    """A sentence if there are no more examples than features, and what to do about it."""
    size, few, remedies = len(real.mu), [], []
    if samples.num is not None and samples.num <= size:
        few.append(f"{samples.num} samples")
        remedies.append("generate more samples than there are features")
    if real.num is not None and real.num <= size:
        few.append(f"{real.num} real examples")
        remedies.append("use fewer features, or compare only with results of equally many real examples")
    if not few:
        return "", ""
    warning = (
        f"FID compares {size} features of {' and '.join(few)}: the covariance does not have full rank, and the "
        "distance is too large"
    )
    return warning, "; ".join(remedies)


def _fid(given: Inputs) -> dict[str, Estimate]:
    assert given.statistics is not None  # it is among the needs
    return {"fid": fid_of_groups(moments.in_groups(given.samples["features"]), given.statistics)}


def _fid_infinity(given: Inputs) -> dict[str, Estimate]:
    assert given.statistics is not None
    return {"fid_infinity": fid_infinity(given.samples["features"], given.statistics, seed=given.seed)}


FID = Metric(_fid, ("features", "statistics"), 2, column("FID", "lower", rank=4))
FID_INFINITY = Metric(_fid_infinity, ("features", "statistics"), 4, column("FID∞", "lower"))

"""Mean and covariance of features from a stream, in double precision, without ever holding all features."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

CHUNK = 4096  # rows that are converted to double precision at a time


class Moments(NamedTuple):
    """The number of examples, their mean [D], and the sum of (x - mean)(x - mean)^T [D, D], in double precision."""

    num: int
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance `scatter / (num - 1)` [D, D]; raises ValueError for fewer than two examples."""
        if self.num < 2:
            raise ValueError(f"the covariance of {self.num} examples was requested; it takes two")
        return self.scatter / (self.num - 1)


def empty(num_features: int) -> Moments:
    """The moments of no examples, into which others are merged."""
    return Moments(0, np.zeros(num_features), np.zeros((num_features, num_features)))


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of the union of two disjoint sets.

        n = n_a + n_b,   d = m_b - m_a,   m = m_a + d n_b / n,   M = M_a + M_b + d d^T n_a n_b / n

    Raises ValueError for different dimensions. Source: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise
    Algorithm for Computing Sample Variances", 1979, equations (2.1).
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"moments of {len(a.mean)} and of {len(b.mean)} features cannot be merged")
    if not a.num or not b.num:
        return a if a.num else b
    num = a.num + b.num
    difference = b.mean - a.mean
    scatter = np.multiply.outer(difference * (a.num * b.num / num), difference)
    scatter += a.scatter
    scatter += b.scatter
    return Moments(num, a.mean + difference * (b.num / num), scatter)


def merge_all(parts: Iterable[Moments]) -> Moments:
    """The moments of all parts together, merged in their order; raises ValueError for none."""
    total: Moments | None = None
    for part in parts:
        total = part if total is None else merge(total, part)
    if total is None:
        raise ValueError("no moments were given to merge")
    return total


def of(features: np.ndarray, indices: np.ndarray | None = None) -> Moments:
    """The moments of `features` [N, D], or of the rows `indices` of them; `features` may be a memory-mapped file.

    Raises ValueError for another shape, and for features that are not finite.
    """
    if features.ndim != 2:
        raise ValueError(f"features {features.shape} were given; expected [N, D]")
    num = len(features) if indices is None else len(indices)
    total = empty(features.shape[1])
    for start in range(0, num, CHUNK):
        rows = slice(start, start + CHUNK)
        total = merge(total, _of_chunk(features[rows] if indices is None else features[indices[rows]]))
    return total


def _of_chunk(features: np.ndarray) -> Moments:
    if not np.isfinite(features).all():
        raise ValueError("features that are not finite were given")
    x = features.astype(np.float64)
    mean = x.mean(0)
    x -= mean[None, :]
    return Moments(len(x), mean, x.T @ x)


class GroupedMoments:
    """The moments of a stream in `num_groups` groups, example i in group i mod `num_groups`.

    Error bars are computed from groups. Examples are collected in blocks before they are counted, so that the result is
    the same to the last bit for any division of the stream into batches; memory is num_groups (D + `block`) D numbers.
    Example: 10 groups of 2048 features take 0.4 GB.
    """

    def __init__(self, num_features: int, num_groups: int = 10, block: int = 256):
        if num_features < 1 or num_groups < 1 or block < 1:
            raise ValueError(f"{num_groups} groups of {num_features} features in blocks of {block} were requested")
        self._groups = [empty(num_features) for _ in range(num_groups)]
        self._blocks = np.empty((num_groups, block, num_features))
        self._filled = [0] * num_groups
        self.num = 0

    def add(self, features: np.ndarray) -> None:
        """Adds the next examples, [B, D]; raises ValueError for another shape, and for features that are not finite."""
        if features.ndim != 2 or features.shape[1] != self._blocks.shape[2]:
            raise ValueError(f"features {features.shape} were given; these moments take [B, {self._blocks.shape[2]}]")
        if not np.isfinite(features).all():
            raise ValueError("features that are not finite were given")
        for row in features:
            group = self.num % len(self._groups)
            self._blocks[group, self._filled[group]] = row
            self._filled[group] += 1
            self.num += 1
            if self._filled[group] == self._blocks.shape[1]:
                self._groups[group] = self._counted(group)
                self._filled[group] = 0

    def groups(self) -> list[Moments]:
        """The moments of each group so far."""
        return [self._counted(group) for group in range(len(self._groups))]

    def total(self) -> Moments:
        """The moments of all examples so far."""
        return merge_all(self.groups())

    def _counted(self, group: int) -> Moments:
        """The moments of a group, its unfinished block included."""
        waiting = self._blocks[group, : self._filled[group]]
        return merge(self._groups[group], _of_chunk(waiting)) if len(waiting) else self._groups[group]


def in_groups(features: np.ndarray, num_groups: int = 10) -> list[Moments]:
    """The moments of the groups of features [N, D]; see `GroupedMoments`."""
    grouped = GroupedMoments(features.shape[-1], num_groups)
    for start in range(0, len(features), CHUNK):
        grouped.add(features[start : start + CHUNK])
    return grouped.groups()


def to_arrays(parts: Sequence[Moments]) -> dict[str, np.ndarray]:
    """Moments [G] as arrays for a file: "num" [G], "mean" [G, D], "scatter" [G, D, D]; inverse of `from_arrays`."""
    return {name: np.stack([np.asarray(getattr(part, name)) for part in parts]) for name in Moments._fields}


def from_arrays(arrays: Mapping[str, Any]) -> list[Moments]:
    """The moments that `to_arrays` was given, to the last bit."""
    num, mean, scatter = (np.asarray(arrays[name]) for name in Moments._fields)
    return [Moments(int(num[i]), mean[i], scatter[i]) for i in range(len(num))]

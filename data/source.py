"""The interface of a data set: a `Source`, which fetches any examples by their index."""

import dataclasses
from collections.abc import Callable

import numpy as np

Examples = dict[str, np.ndarray]
CACHE_BYTES = 2**30  # data sets up to this size stay in memory once decoded; CIFAR-10 takes 150 MB


@dataclasses.dataclass(frozen=True)
class Source:
    """Examples by index, and what a model needs to know about them.

    fetch: `fetch(indices [n])` returns "x" [n, *shape] of `dtype`, and "label" [n] int32, all zeros if `num_classes` is
        0. It may be called from several threads and be sent to other processes.
    num_levels: integers are levels below it; 0 for floats. class_names: may be empty.
    """

    name: str
    num_examples: int
    shape: tuple[int, ...]
    num_levels: int
    num_classes: int
    fetch: Callable[[np.ndarray], Examples]
    dtype: str = "uint8"
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.num_examples

    @property
    def num_bytes(self) -> int:
        """The memory that all examples take."""
        return self.num_examples * int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclasses.dataclass(frozen=True)
class Reading:
    """How data given by a path are read; see the keys of the same names in `config.data`."""

    shape: tuple[int, ...] = ()
    image_size: int = 32
    resize: str | None = None
    num_levels: int | None = None
    test_every: int = 10
    on_corrupt: str = "refuse"
    cache_dir: str | None = None


@dataclasses.dataclass(frozen=True)
class Cached:
    """A `fetch` that keeps every example it has read in memory; a copy sent to another process starts empty."""

    source: Source
    images: np.ndarray
    labels: np.ndarray
    known: np.ndarray  # bool [N]

    def __call__(self, indices: np.ndarray) -> Examples:
        """The examples `indices` [n]."""
        missing = np.unique(indices[~self.known[indices]])
        if missing.size:  # two threads may fetch the same example; both write the same values
            fresh = self.source.fetch(missing)
            self.images[missing], self.labels[missing] = fresh["x"], fresh["label"]
            self.known[missing] = True
        return {"x": self.images[indices], "label": self.labels[indices]}

    def __reduce__(self) -> tuple:
        return _empty_cache, (self.source,)


def cached(source: Source) -> Source:
    """The same source, which keeps every example it has fetched in memory."""
    return dataclasses.replace(source, fetch=_empty_cache(source))


def _empty_cache(source: Source) -> Cached:
    images = np.empty((len(source), *source.shape), source.dtype)
    return Cached(source, images, np.empty(len(source), np.int32), np.zeros(len(source), bool))


def from_arrays(
    name: str, values: np.ndarray, labels: np.ndarray | None = None, *, num_levels: int = 256, num_classes: int = 0
) -> Source:
    """A source of `values` [N, ...] and `labels` [N] held in memory.

    values: uint8 levels, or float32 if `num_levels` is 0. Errors: ValueError for another type.
    """
    dtype = "uint8" if num_levels else "float32"
    if values.ndim < 2 or values.dtype != dtype:
        raise ValueError(
            f"{name}: {values.dtype} {values.shape} were given, but a source with num_levels = {num_levels} needs "
            f"{dtype} [N, ...]."
        )
    labels = np.zeros(len(values), np.int32) if labels is None else labels.astype(np.int32)

    def fetch(indices: np.ndarray) -> Examples:
        return {"x": values[indices], "label": labels[indices]}

    return Source(name, len(values), values.shape[1:], num_levels, num_classes, fetch, dtype)


def in_split(num: int, split: str, test_every: int) -> np.ndarray:
    """The indices [n] of a split of `num` examples: every `test_every`-th is a test example, starting with example 0.

    With `test_every` = 0 both splits contain all examples.
    """
    indices = np.arange(num)
    return indices[(indices % test_every == 0) == (split == "test")] if test_every else indices

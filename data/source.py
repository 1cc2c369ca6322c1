"""The interface of a data set: a `Source`, which fetches any examples by their index."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from data.decoders import MAX_PIXELS
from data.fields import Field, HasFields, check_fields, field_of, labeled, without_missing
from data.notices import warn_once
from data.structure import Structure

T = TypeVar("T")
Examples = dict[str, np.ndarray]
CACHE_BYTES = 2**30  # data sets up to this size stay in memory once decoded; CIFAR-10 takes 150 MB


@dataclasses.dataclass(frozen=True)
class Source(HasFields):
    """Examples by index, and what a model needs to know about them.

    fields: by name; "x" is the array that is modeled, "label" the class of an example, all zeros without classes.
    fetch: `fetch(indices [n])` returns an array [n, *shape] for each field, of its dtype. It may be called from several
        threads and be sent to other processes.
    structure: how examples come about, where they are made by a known structural causal model.
    Errors: ValueError for fields without x or label.
    """

    name: str
    num_examples: int
    fields: Mapping[str, Field]
    fetch: Callable[[np.ndarray], Examples]
    structure: Structure | None = None

    def __post_init__(self) -> None:
        check_fields(self.name, self.fields)

    def __len__(self) -> int:
        return self.num_examples

    @property
    def num_bytes(self) -> int:
        """The memory that all examples take."""
        return self.num_examples * sum(field.num_bytes for field in self.fields.values())


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
    data_dir: str | None = None
    background: str = "white"
    max_pixels: int = MAX_PIXELS
    horizon: int = 0
    lags: str = "none"
    test_share: float = 0.25
    context_units: tuple[float, float] | None = None  # offset and scale of a field `context`; None: there is none
    text_length: int | None = None  # tokens of a caption; None: those of the longest
    classes_needed: bool = True  # whether a model uses class labels


def if_needed(reading: Reading, classes: Callable[[], T], none: T) -> T:
    """The `classes` of a data set; `none` where they cannot be read, but no model needs them.

    Errors: ValueError where a model needs them.
    """
    try:
        return classes()
    except ValueError as error:
        if reading.classes_needed:
            raise
        warn_once(f"{error} (the data are used without classes, because the model needs none)")
        return none


@dataclasses.dataclass(frozen=True)
class Cached:
    """A `fetch` that keeps every example it has read in memory; a copy sent to another process starts empty."""

    source: Source
    arrays: Examples
    known: np.ndarray  # bool [N]

    def __call__(self, indices: np.ndarray) -> Examples:
        """The examples `indices` [n]."""
        missing = np.unique(indices[~self.known[indices]])
        if missing.size:  # two threads may fetch the same example; both write the same values
            fresh = self.source.fetch(missing)
            for name, array in self.arrays.items():
                array[missing] = fresh[name]
            self.known[missing] = True
        return {name: array[indices] for name, array in self.arrays.items()}

    def __reduce__(self) -> tuple:
        return _empty_cache, (self.source,)


def cached(source: Source) -> Source:
    """The same source, which keeps every example it has fetched in memory."""
    return dataclasses.replace(source, fetch=_empty_cache(source))


def _empty_cache(source: Source) -> Cached:
    size = len(source)
    arrays = {name: np.empty((size, *field.shape), field.dtype) for name, field in source.fields.items()}
    return Cached(source, arrays, np.zeros(size, bool))


def from_arrays(
    name: str,
    values: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    num_levels: int = 256,
    num_classes: int = 0,
    class_names: tuple[str, ...] = (),
    others: Mapping[str, np.ndarray] | None = None,
) -> Source:
    """A source of `values` [N, ...], `labels` [N] and `others` [N, ...], by name, held in memory.

    values: uint8 levels, or float32 if `num_levels` is 0. others: what each array is follows from its dtype, see
    `data.fields.field_of`. Errors: ValueError for another type or length.
    """
    dtype = "uint8" if num_levels else "float32"
    if values.ndim < 2 or values.dtype != dtype:
        raise ValueError(
            f"{name}: {values.dtype} {values.shape} were given, but a source with num_levels = {num_levels} needs "
            f"{dtype} [N, ...]."
        )
    labels = np.zeros(len(values), np.int32) if labels is None else labels.astype(np.int32)
    fields = labeled(Field(values.shape[1:], dtype, num_levels), num_classes, class_names)
    arrays = {"x": values, "label": labels}
    for key, array in (others or {}).items():
        found = field_of(name, key, array) if len(array) == len(values) else None
        if found is None:
            raise ValueError(f"{key} of {name} is {array.dtype} {array.shape}; give {len(values)} numbers or classes.")
        fields[key], arrays[key] = found
    for key, field in fields.items():
        if field.dtype == "float32" and key != "x":
            arrays[key] = without_missing(arrays, key, lambda row: f"row {row} of {name}")

    def fetch(indices: np.ndarray) -> Examples:
        return {key: array[indices] for key, array in arrays.items()}

    return Source(name, len(values), fields, fetch)


def in_split(num: int, split: str, test_every: int) -> np.ndarray:
    """The indices [n] of a split of `num` examples: every `test_every`-th is a test example, starting with example 0.

    With `test_every` = 0 both splits contain all examples.
    """
    indices = np.arange(num)
    return indices[(indices % test_every == 0) == (split == "test")] if test_every else indices


def of_subjects(subjects: np.ndarray, split: str, test_every: int) -> np.ndarray:
    """The indices [n] of a split of examples of `subjects` [N]: all examples of a subject are in the same split.

    Every `test_every`-th subject, in ascending order, is a test subject, starting with the first. With `test_every` = 0
    both splits contain all examples.
    """
    known, number = np.unique(subjects, return_inverse=True)
    return np.flatnonzero(np.isin(number, in_split(len(known), split, test_every)))

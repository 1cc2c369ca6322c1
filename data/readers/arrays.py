"""A user's arrays in .npy or .npz files, [N, ...] of any rank; nothing in the files is executed.

An .npy file stays on disk and only the rows needed are read; an .npz file is read into memory once. In an .npz file the
examples are x, arr_0, images, the only array, or the only one of several axes, and the labels are y or labels; every
other array of the same length is a field whose dtype says what it is (`data.fields.field_of`); those of another length
are left out, with a line in the log. The labels of an .npy file are in a second file, `npy:IMAGES.npy,LABELS.npy`.
"""

import contextlib
import dataclasses
import functools
import math
import pathlib
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from core.array_files import is_npz, read_npy, read_npz
from core.reading import UnreadableError
from data.fields import Field, as_float32, fields_of, labeled, without_missing
from data.source import Examples, Reading, Source, if_needed, in_split, of_subjects

EXAMPLES, LABELS = ("x", "arr_0", "images"), ("y", "labels", "label")
SUBJECT = "subject"  # whose an example is; no subject is in both splits


class Arrays(NamedTuple):
    """Examples [N, ...], labels [N], and other arrays [N, ...] by name."""

    examples: np.ndarray
    labels: np.ndarray | None
    others: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Rows:
    """A `fetch` of the rows `chosen` of an array; floats become float32, integers become levels.

    others: the values of the fields other than x.
    """

    name: str
    array: np.ndarray
    others: Mapping[str, np.ndarray]
    chosen: np.ndarray  # int64 [n], rows of the split
    x: Field

    def __getstate__(self) -> dict[str, Any]:
        array = self.array
        return self.__dict__ | ({"array": array.filename} if isinstance(array, np.memmap) else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Opens a memory-mapped file again, in another process."""
        array = state["array"]
        self.__dict__.update(state)
        if not isinstance(array, np.ndarray):
            self.__dict__["array"] = read_npy(pathlib.Path(array), mapped=True)

    def __call__(self, indices: np.ndarray) -> Examples:
        """The examples `indices` [n]. Errors: ValueError that names a row with invalid values."""
        rows = self.chosen[indices]
        found = np.asarray(self.array[rows]).reshape(len(rows), *self.x.shape)
        others = {name: values[rows] for name, values in self.others.items()}
        if not self.x.num_levels:
            found = as_float32(found)
            found = without_missing({**others, "x": found}, "x", lambda row: f"row {rows[row]} of {self.name}")
        elif self.x.num_levels != _implied_levels(found.dtype):
            _check_levels(self.name, rows, found, self.x.num_levels)
        return {"x": found.astype(self.x.dtype, copy=False), **others}


def _check_levels(name: str, rows: np.ndarray, found: np.ndarray, num_levels: int) -> None:
    """Errors: ValueError that names the first of the `rows` with a value that is not a level."""
    wrong = (found < 0) | (found >= num_levels)
    if wrong.any():
        first = int(np.flatnonzero(wrong.reshape(len(rows), -1).any(axis=1))[0])
        raise ValueError(
            f"row {rows[first]} of {name} has the value {found[first][wrong[first]][0]}, but levels 0 to "
            f"{num_levels - 1} are expected; correct the file, or set config.data.num_levels."
        )


def open_npy(given: str, split: str, reading: Reading) -> Source:
    """The split of an .npy file, memory-mapped. Errors: ValueError, FileNotFoundError that name the file."""
    first, _, second = (given, "", "") if pathlib.Path(given).exists() else given.partition(",")
    array = _mapped(pathlib.Path(first), "an .npy file", _as_flag("npz", first))
    labels = _mapped(pathlib.Path(second), "an .npy file of labels", "an .npy file") if second else None
    return _source(f"npy:{given}", first, Arrays(array, labels, {}), split, reading)


def open_npz(given: str, split: str, reading: Reading) -> Source:
    """The split of an .npz file. Errors: ValueError, FileNotFoundError that name the file."""
    path = pathlib.Path(given)
    if not path.is_file():
        raise _missing(path, "an .npz file")
    info = path.stat()
    return _source(f"npz:{given}", given, _unpacked(path, info.st_mtime_ns, info.st_size), split, reading)


@functools.lru_cache(maxsize=2)  # both splits read the same file
def _unpacked(path: pathlib.Path, mtime_ns: int, size: int) -> Arrays:
    """The arrays of an .npz file; its time and size are arguments so that a changed file is read again."""
    del mtime_ns, size
    with _named(path):
        if not is_npz(path) and _is_npy(path):
            raise ValueError(f"{path} is an .npy file; use {_as_flag('npy', path)}.")
        found = read_npz(path)
    chosen, labels = _chosen(path, found), next((name for name in LABELS if name in found), None)
    others = {name: values for name, values in found.items() if name not in (chosen, labels)}
    return Arrays(found[chosen], None if labels is None else found[labels], others)


def _chosen(path: pathlib.Path, found: Mapping[str, np.ndarray]) -> str:
    """The name of the examples: a usual one, that of the only array, or of the only one that has more than one axis.

    Errors: ValueError if there is none.
    """
    names = [name for name in found if name not in LABELS]
    named = [name for name in EXAMPLES if name in names]
    several = [name for name in names if found[name].ndim > 1]
    chosen = named[:1] or (names if len(names) == 1 else several)
    if len(chosen) != 1:
        raise ValueError(
            f"{path} contains {', '.join(found) or 'nothing'}; name the examples x (or arr_0) and their labels y (or "
            "labels)."
        )
    return chosen[0]


def _mapped(path: pathlib.Path, what: str, other: str) -> np.ndarray:
    """The array of an .npy file, which stays on disk. other: what to use for an .npz file instead."""
    if not path.is_file():
        raise _missing(path, what)
    with _named(path):
        if is_npz(path):
            raise ValueError(f"{path} is an .npz file; use {other}.")
        return read_npy(path, mapped=True)


def _is_npy(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == np.lib.format.MAGIC_PREFIX


def _source(name: str, file: str, arrays: Arrays, split: str, reading: Reading) -> Source:
    """The split of an array. Errors: ValueError for arrays that cannot be examples, labels or fields."""
    array = arrays.examples
    if reading.resize:
        raise ValueError(
            f"config.data.resize = {reading.resize!r} resizes image files, but {name} contains arrays; leave it unset."
        )
    if array.ndim < 2 or not array.size:
        raise ValueError(
            f"{file} contains {array.dtype} {array.shape}, but examples [N, ...] are expected; give vectors as [N, D]."
        )
    shape = reading.shape or array.shape[1:]
    if math.prod(shape) != math.prod(array.shape[1:]):
        raise ValueError(
            f"config.data.shape = {tuple(shape)}, but {file} contains examples of {array.shape[1:]}; leave it unset, "
            "or give a shape with the same number of values."
        )
    num_levels, dtype = _levels(file, array.dtype, reading.num_levels)
    num_classes, labels = if_needed(
        reading, lambda: _classes(file, arrays.labels, len(array)), (0, np.zeros(len(array), np.int32))
    )
    chosen = _chosen_rows(arrays, len(array), split, reading.test_every)
    if not len(chosen):
        raise ValueError(
            f"{file} has {len(array)} example(s), none of them in the {split} split; give more, or set "
            "config.data.test_every = 0 to use all of them for both."
        )
    x = Field(tuple(shape), dtype, num_levels)
    fields, others = fields_of(file, arrays.others, len(array), lambda row: f"row {row} of {file}")
    fetch = Rows(file, array, {"label": labels, **others}, chosen, x)
    return Source(name, len(chosen), labeled(x, num_classes) | fields, fetch)


def _chosen_rows(arrays: Arrays, num: int, split: str, test_every: int) -> np.ndarray:
    """The rows of a split: of some of the subjects, where the array `subject` says whose an example is."""
    subjects = arrays.others.get(SUBJECT)
    if subjects is None or subjects.shape != (num,):
        return in_split(num, split, test_every)
    return of_subjects(subjects, split, test_every)


def _levels(file: str, dtype: np.dtype, asked: int | None) -> tuple[int, str]:
    """(number of levels, 0 for floats; dtype of the examples)."""
    if np.issubdtype(dtype, np.floating):
        if asked:
            raise ValueError(
                f"config.data.num_levels = {asked}, but {file} contains {dtype}, which has no levels; leave it unset, "
                "or give integers."
            )
        return 0, "float32"
    implied = _implied_levels(dtype)
    if not (np.issubdtype(dtype, np.integer) or implied):
        raise ValueError(f"{file} contains {dtype}; use integers (levels) or floats.")
    num_levels = asked or implied
    if not num_levels or num_levels > 2**16:
        raise ValueError(
            f"{file} contains {dtype}, which does not determine the number of levels; set config.data.num_levels (at "
            "most 65536), or give uint8, uint16 or floats."
        )
    return num_levels, "uint8" if num_levels <= 2**8 else "uint16"


def _implied_levels(dtype: np.dtype) -> int:
    """The number of levels that a dtype implies, or 0."""
    return {"bool": 2, "uint8": 2**8, "uint16": 2**16}.get(dtype.name, 0)


def _classes(file: str, labels: np.ndarray | None, num: int) -> tuple[int, np.ndarray]:
    """The number of classes, and the labels [N]; 0 without classes.

    Errors: ValueError unless labels are integers 0 ... K - 1, all used, one per example.
    """
    if labels is None:
        return 0, np.zeros(num, np.int32)
    if labels.shape != (num,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"the labels of {file} are {labels.dtype} {labels.shape}, but integers ({num},) are expected, one per "
            "example."
        )
    values, counts = np.unique(labels, return_counts=True)
    if values[0] < 0 or values[-1] >= 2**20:
        raise ValueError(f"the labels of {file} go from {values[0]} to {values[-1]}; number the classes from 0.")
    if len(counts) != values[-1] + 1:
        absent = next(k for k in range(len(values)) if values[k] != k)
        raise ValueError(
            f"the labels of {file} go to {values[-1]}, but no example has the class {absent}; number the classes 0 to "
            f"{len(values) - 1}."
        )
    return len(values) if len(values) > 1 else 0, labels.astype(np.int32)


def _as_flag(form: str, path: object) -> str:
    return shlex.join([f"--config.data.dataset={form}:{path}"])


def _missing(path: pathlib.Path, what: str) -> FileNotFoundError:
    return FileNotFoundError(f"{path} does not exist; config.data.dataset must name {what}.")


@contextlib.contextmanager
def _named(path: pathlib.Path) -> Iterator[None]:
    """Says which file cannot be read. Errors: ValueError."""
    try:
        yield
    except UnreadableError as error:
        raise ValueError(
            f"{path} cannot be read as an array ({error}); write it with numpy.save or numpy.savez."
        ) from error

"""The named arrays of an example: what values each of them has, and how that follows from an array of all examples."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data.notices import warn_once

RESERVED = ("index", "counted", "repeat", "row", "augment")  # what evaluation and training add to a batch
MAX_CLASSES = 2**20
MAX_TEXTS = 1000  # different values of a text that is a class
MAX_TEXT_BYTES = 2**29  # of an array of texts, where each takes as much as the longest


@dataclasses.dataclass(frozen=True)
class Field:
    """One array of an example.

    shape: () for one value per example. num_levels: integers are levels below it, such as gray values or tokens; 0 for
    floats. num_classes: integers are class labels below it; 0 for others. class_names: may be empty.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    num_levels: int = 0
    num_classes: int = 0
    class_names: tuple[str, ...] = ()

    @property
    def num_bytes(self) -> int:
        """The memory that the array of one example takes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class HasFields:
    """What has fields by name: "x", the array that is modeled, "label", its class (0 without classes), and others."""

    fields: Mapping[str, Field]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of x."""
        return self.fields["x"].shape

    @property
    def dtype(self) -> str:
        """The dtype of x."""
        return self.fields["x"].dtype

    @property
    def num_levels(self) -> int:
        """The number of levels of x; 0 for floats."""
        return self.fields["x"].num_levels

    @property
    def num_classes(self) -> int:
        """The number of classes; 0 without classes."""
        return self.fields["label"].num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; may be empty."""
        return self.fields["label"].class_names


def labeled(x: Field, num_classes: int = 0, class_names: tuple[str, ...] = ()) -> dict[str, Field]:
    """The fields "x" and "label", an int32 below `num_classes`."""
    return {"x": x, "label": Field((), "int32", num_classes=num_classes, class_names=class_names)}


def check_fields(where: str, fields: Mapping[str, Field]) -> None:
    """Errors: ValueError for fields without x or label, and for names that batches use themselves."""
    if missing := {"x", "label"} - fields.keys():
        raise ValueError(f"{where} has no field {' and no field '.join(sorted(missing))}; every data set has both.")
    if taken := [name for name in fields if name in RESERVED]:
        raise ValueError(f"{where} has a field {taken[0]!r}, a name that batches use themselves; give it another one.")


def field_of(where: str, name: str, values: np.ndarray) -> tuple[Field, np.ndarray] | None:
    """The field that an array [N, ...] of all examples is, and its values in the dtype of the field.

    Floats are values, float32. An integer or Boolean per example is a class, several are levels: 2 of Booleans, 256 of
    uint8, 65,536 of uint16, otherwise one more than the largest. A text per example is a class if there are at most
    half as many different ones as examples, and at most 1,000; the classes are in the order of the alphabet. None for
    arrays of anything else. Errors: ValueError for integers that cannot be classes or levels.
    """
    shape, kind = values.shape[1:], values.dtype.kind
    if kind == "f":
        return Field(shape), as_float32(values)
    if kind in "US" and not shape:
        names, classes = np.unique(values.astype(str), return_inverse=True)
        if len(names) > min(len(values) // 2, MAX_TEXTS):
            return None
        field = Field((), "int32", num_classes=len(names), class_names=tuple(map(str, names)))
        return field, classes.astype(np.int32)
    if kind not in "biu":
        return None
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or (not shape and high >= MAX_CLASSES) or high >= 2**31:
        raise ValueError(
            f"{name} of {where} has integers from {low} to {high}, but classes and levels are numbered from 0"
            f"{f' to at most {MAX_CLASSES - 1:,}' if not shape else ''}; give floats if they are values."
        )
    if not shape:
        return Field((), "int32", num_classes=2 if kind == "b" else high + 1), values.astype(np.int32)
    num_levels = {"bool": 2, "uint8": 2**8, "uint16": 2**16}.get(values.dtype.name, high + 1)
    dtype = "uint8" if num_levels <= 2**8 else "uint16" if num_levels <= 2**16 else "int32"
    return Field(shape, dtype, num_levels), values.astype(dtype, copy=False)


def texts(cells: Sequence[str], num: int | None = None) -> np.ndarray | None:
    """Texts as an array; None where `num` (default: as many) of the length of the longest would fill the memory."""
    num = len(cells) if num is None else num
    return np.array(cells, str) if 4 * num * max(map(len, cells), default=0) <= MAX_TEXT_BYTES else None


def fields_of(
    where: str,
    arrays: Mapping[str, np.ndarray | None],
    num: int,
    row: Callable[[int], str],
    remedy: str = "correct the file",
) -> tuple[dict[str, Field], dict[str, np.ndarray]]:
    """The fields that named arrays [N, ...] of `num` examples are, and their values, 0 where they are missing.

    What is no field is left out, with a line in the log; so is None, which stands for texts that are too long.
    row: what row i is called.
    Errors: ValueError for values that a field cannot have.
    """
    fields, values = dict[str, Field](), dict[str, np.ndarray]()
    for name, array in arrays.items():
        if array is None:
            warn_once(f"the column {name} of {where} is left out: it has texts that are too long for classes")
            continue
        fits = array.ndim > 0 and len(array) == num
        found = field_of(where, name, array) if fits else None
        if found is not None:
            fields[name], values[name] = found
        elif fits and array.dtype.kind in "US":
            warn_once(f"the column {name} of {where} is left out: it has too many different texts for classes")
        else:
            warn_once(f"{name} of {where}, {array.dtype} {array.shape}, is left out: it is no field of {num} examples")
    for name, field in fields.items():
        if field.dtype == "float32":
            values[name] = without_missing(values, name, row, remedy)
    return fields, values


def as_float32(values: np.ndarray) -> np.ndarray:
    """Values as float32; those beyond its range become infinite, which is refused with their row."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def without_missing(
    arrays: Mapping[str, np.ndarray], name: str, where: Callable[[int], str], remedy: str = "correct the file"
) -> np.ndarray:
    """The floats `arrays[name]` [N, ...] with 0 for missing values: NaN where the array `name`_mask [N, ...] is 0.

    where: what row i is called. Errors: ValueError for any other value that is not finite, with its row.
    """
    values, mask = arrays[name], arrays.get(f"{name}_mask")
    wrong = ~np.isfinite(values)
    if not wrong.any():
        return values
    if mask is not None:
        known = mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim)) != 0
        if known.ndim != values.ndim or any(a not in (1, b) for a, b in zip(known.shape, values.shape, strict=True)):
            raise ValueError(f"{where(0)} has {name} {values.shape} and {name}_mask {mask.shape}; give them one shape.")
        missing = np.isnan(values) & ~known
        values, wrong = np.where(missing, values.dtype.type(0), values), wrong & ~missing
    if wrong.any():
        first = int(np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))[0])
        what = "" if name == "x" else f" in {name}"
        raise ValueError(
            f"{where(first)} has the value {values[first][wrong[first]].ravel()[0]}{what}, but finite numbers are "
            f"expected; {remedy}, or mark missing values (NaN) by 0 in an array {name}_mask."
        )
    return values

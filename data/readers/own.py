"""Data sets that a user names: `folder:PATH` and other forms of files, `tfds:NAME`, or a function.

A function has the import path `package.module:function`; it takes the split, train or test, and returns a `Source`.
"""

import dataclasses
import difflib
import functools
import pathlib
from collections.abc import Callable

import numpy as np

from core.imports import import_object
from data.fields import without_missing
from data.readers.arrays import open_npy, open_npz
from data.readers.cifar import open_cifar10
from data.readers.encoded import FORM, open_encoded
from data.readers.folders import open_folder, open_zip
from data.readers.hugging_face import open_hf
from data.readers.prepared import open_tfds
from data.readers.scan_folders import open_scans
from data.readers.tars import open_wds
from data.readers.windows import open_series
from data.source import Examples, Reading, Source

FORMS: dict[str, Callable[[str, str, Reading], Source]] = {
    "folder": open_folder,
    "zip": open_zip,
    "npy": open_npy,
    "npz": open_npz,
    "cifar10": open_cifar10,
    "tfds": open_tfds,
    "hf": open_hf,
    "wds": open_wds,
    "series": open_series,
    "scans": open_scans,
    FORM: open_encoded,
}


def is_own(dataset: str) -> bool:
    """Whether a data set is given as a form and a path, as a path alone, or as an import path."""
    return ":" in dataset or "/" in dataset


def open_own(dataset: str, split: str, reading: Reading) -> Source:
    """The split train or test. Errors: ValueError, FileNotFoundError, one sentence that names the file."""
    form, _, path = dataset.partition(":") if ":" in dataset else (_form_of(dataset), "", dataset)
    if _is_function(form, path):
        return _returned(import_object("config.data.dataset =", dataset, "function"), dataset, _checked(dataset, split))
    if form.lower() not in FORMS or not path:
        raise ValueError(
            f"config.data.dataset = {dataset!r} is not a form and a path; choose one of "
            f"{', '.join(f'{form}:PATH' for form in FORMS if form != 'tfds')}, tfds:NAME, a function "
            "package.module:function, or a data set by its name."
        )
    return FORMS[form.lower()](path, _checked(dataset, split), reading)


def _form_of(path: str) -> str:
    """The form of a path that is given alone: by its ending, otherwise a folder."""
    ending = pathlib.PurePath(path).suffix.lower().removeprefix(".")
    return ending if ending in ("zip", "npy", "npz") else "folder"


def _checked(dataset: str, split: str) -> str:
    if split not in ("train", "test"):
        raise ValueError(f"{dataset} has the splits train and test, not {split!r}.")
    return split


def _is_function(form: str, path: str) -> bool:
    """Whether this is an import path, and not a form, perhaps misspelt."""
    is_form = form.lower() in FORMS or difflib.get_close_matches(form.lower(), FORMS, cutoff=0.75)
    return path.isidentifier() and all(part.isidentifier() for part in form.split(".")) and not is_form


@functools.lru_cache(maxsize=4)  # the shape of the data is asked for before the data
def _returned(function: Callable[[str], Source], dataset: str, split: str) -> Source:
    """The source that a function returns, its first example tried. Errors: ValueError for anything else."""
    source = function(split)
    if not isinstance(source, Source) or not len(source):
        what = "no examples" if isinstance(source, Source) else f"a {type(source).__name__}"
        raise ValueError(f"{dataset} returned {what} for the split {split}; return a data.source.Source of examples.")
    expected = {name: (field.dtype, (1, *field.shape)) for name, field in source.fields.items()}
    found = {name: (array.dtype.name, array.shape) for name, array in source.fetch(np.arange(1)).items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"{dataset} says that {name} of one example is {_described(expected.get(name))}, but fetches "
                f"{_described(found.get(name))}; correct its fields or its fetch."
            )
    return dataclasses.replace(source, fetch=Finite(dataset, source))


@dataclasses.dataclass(frozen=True)
class Finite:
    """A `fetch` of a source whose floats must be finite, or marked as missing."""

    dataset: str
    source: Source

    def __call__(self, indices: np.ndarray) -> Examples:
        """The examples `indices` [n]. Errors: ValueError that names the first one with another value."""
        found = dict(self.source.fetch(indices))
        for name, field in self.source.fields.items():
            if field.dtype == "float32":
                found[name] = without_missing(found, name, lambda row: f"example {indices[row]} of {self.dataset}")
        return found


def _described(array: tuple[str, tuple[int, ...]] | None) -> str:
    return "missing" if array is None else f"{array[0]} {array[1]}"

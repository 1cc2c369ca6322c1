"""Data sets that a user names by a path: `folder:PATH`, `zip:PATH`, `npy:PATH`, `npz:PATH`, `cifar10:PATH`."""

from collections.abc import Callable

from data.readers.arrays import open_npy, open_npz
from data.readers.cifar import open_cifar10
from data.readers.folders import open_folder, open_zip
from data.source import Reading, Source

FORMS: dict[str, Callable[[str, str, Reading], Source]] = {
    "folder": open_folder,
    "zip": open_zip,
    "npy": open_npy,
    "npz": open_npz,
    "cifar10": open_cifar10,
}


def is_own(dataset: str) -> bool:
    """Whether a data set is given as a form and a path."""
    return ":" in dataset


def open_own(dataset: str, split: str, reading: Reading) -> Source:
    """The split train or test. Errors: ValueError, FileNotFoundError, one sentence that names the file."""
    form, _, path = dataset.partition(":")
    if form.lower() not in FORMS or not path:
        raise ValueError(
            f"config.data.dataset = {dataset!r} is not a form and a path; choose one of "
            f"{', '.join(f'{form}:PATH' for form in FORMS)}, or a data set by its name."
        )
    if split not in ("train", "test"):
        raise ValueError(f"{dataset} has the splits train and test, not {split!r}.")
    return FORMS[form.lower()](path, split, reading)

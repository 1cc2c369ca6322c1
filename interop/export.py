"""Parameters to and from `.npz` or `.safetensors`: one array per name, such as "Conv_0/kernel"."""

import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from core import array_files
from core.files import size_of, temporary_file
from core.outputs import refuse_existing
from core.reading import UnreadableError, check_size, open_zip, reading, reason
from interop.base import CheckpointFormatError, Flat, Imported, flatten

KIND = "exported parameters"
Writer = Callable[[Flat, pathlib.Path], None]


def write(path: pathlib.Path, params: Mapping[str, Any]) -> None:
    """Writes nested `params` atomically; the suffix of `path` chooses the format.

    Errors: ValueError for another suffix; FileExistsError.
    """
    save = choose(path)
    refuse_existing(path)
    flat = {name: np.asarray(value, order="C") for name, value in flatten(params).items()}
    with temporary_file(path) as temporary:
        save(flat, temporary)


def choose(path: pathlib.Path) -> Writer:
    """The writer for the suffix of `path`. Errors: ValueError."""
    if path.suffix not in WRITERS:
        raise ValueError(f"{path} does not end in a known suffix; parameters are written as {' or '.join(WRITERS)}.")
    return WRITERS[path.suffix]


def read_npz(path: pathlib.Path) -> Imported:
    """Parameters from a `.npz`. Errors: CheckpointFormatError."""
    try:
        with open_zip(path) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise CheckpointFormatError("is a compressed .npz; write it with numpy.savez.")
        return _imported(array_files.read_npz(path))
    except UnreadableError as error:
        raise _damaged(".npz", error) from error


def read_safetensors(path: pathlib.Path) -> Imported:
    """Parameters from a `.safetensors`. Errors: CheckpointFormatError."""
    try:
        with reading():
            check_size(size_of(path))
            return _imported(_tensors(path))
    except UnreadableError as error:
        raise _damaged(".safetensors", error) from error


def _imported(flat: Flat) -> Imported:
    """Such a file contains one set of parameters and no state: training starts from them, at step 0."""
    return Imported(KIND, 0, flat, flat, None)


def _tensors(path: pathlib.Path) -> Flat:
    try:
        return safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:  # an Exception without a family
        raise UnreadableError(reason(error)) from error
    except AttributeError as error:  # such as those of 8 or 4 bits
        raise UnreadableError("it has tensors of a dtype that NumPy does not have") from error


def _damaged(suffix: str, error: UnreadableError) -> CheckpointFormatError:
    return CheckpointFormatError(f"is not a {suffix} of parameters, or is damaged or cut off ({error}).")


def _write_npz(flat: Flat, path: pathlib.Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **flat)


def _write_safetensors(flat: Flat, path: pathlib.Path) -> None:
    path.write_bytes(safetensors.numpy.save(flat))  # save_file makes a file that others cannot read


WRITERS: dict[str, Writer] = {".npz": _write_npz, ".safetensors": _write_safetensors}

"""The file format of `torch.save` before PyTorch 1.6, used by the published Inception weights.

Five pickles, one after the other (a magic number, the protocol 1001, the machine, the object, the keys of the
storages), then for each key the number of elements, int64, and their raw bytes. Each pickle has the
safeguards of `torch_pickle`. Source: the documentation of `torch.save`.
"""

import os
import pathlib
import pickletools
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from interop.base import CheckpointFormatError
from interop.formats import torch_pickle

_PROTOCOL = 1001
_MAX_STORAGES = 10_000


def is_legacy(path: pathlib.Path) -> bool:
    """Whether a file starts like those of PyTorch before 1.6."""
    with path.open("rb") as file:
        return file.read(len(torch_pickle.LEGACY_MAGIC)) == torch_pickle.LEGACY_MAGIC


def read(path: pathlib.Path) -> Any:
    """The object that was saved, as from `torch_pickle.read`; nothing in the file is executed.

    Errors: CheckpointFormatError.
    """
    try:
        with path.open("rb") as file:
            program, keys = _header(file)
            entries = _Storages(file, keys, os.fstat(file.fileno()).st_size)
            _Outline(program, entries).load()  # which type each storage has
            entries.fill()
            return _Legacy(program, entries).load()
    except CheckpointFormatError:
        raise
    except torch_pickle.UNREADABLE as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise CheckpointFormatError(
            f"is not a checkpoint of PyTorch before 1.6, or is damaged or truncated ({reason[:150]}); nothing in it "
            "was executed."
        ) from error


def _header(file: BinaryIO) -> tuple[bytes, list[str]]:
    """The pickle of the object and the keys of its storages; `file` is then positioned at the first storage."""
    pickles = list(_pickles(file))
    plain = _Storages(file, [], 0)
    protocol, machine, keys = (_Legacy(pickles[i], plain).load() for i in (1, 2, 4))
    if protocol != _PROTOCOL or machine.get("little_endian") is not True:
        raise CheckpointFormatError("was written by a PyTorch, or on a machine, that cannot be read.")
    if not isinstance(keys, list) or len(keys) > _MAX_STORAGES or not all(isinstance(key, str) for key in keys):
        raise CheckpointFormatError("does not list its storages.")
    return pickles[3], keys


def _pickles(file: BinaryIO) -> Iterator[bytes]:
    """The five pickles at the beginning, checked but not run."""
    for _ in range(5):
        start = file.tell()
        for _ in pickletools.genops(file):
            if file.tell() - start > torch_pickle.MAX_PICKLE_BYTES:
                raise CheckpointFormatError("has a pickle larger than that of any checkpoint.")
        end = file.tell()
        file.seek(start)
        program = file.read(end - start)
        torch_pickle.check_opcodes(program)
        yield program


class _Storages(torch_pickle.Entries):
    """The storages after the pickles, under their names in the archives of later versions."""

    def __init__(self, file: BinaryIO, keys: list[str], num_bytes: int):
        self._file, self._keys, self._num_bytes = file, keys, num_bytes
        self._raw: dict[str, bytes] = {}
        self.item_bytes: dict[str, int] = {}

    def fill(self) -> None:
        """Reads all storages; `item_bytes` must contain the size of an element of each."""
        for key in self._keys:
            (size,) = np.frombuffer(self._file.read(8), "<i8")
            length = int(size) * self.item_bytes[key]
            if not 0 <= length <= self._num_bytes - self._file.tell():
                raise ValueError(f"storage {key[:20]} reaches beyond the end of the file")
            self._raw[f"data/{key}"] = self._file.read(length)

    def read(self, name: str) -> bytes:
        return self._raw[name]

    def read_or(self, name: str, default: bytes) -> bytes:
        return default


class _Legacy(torch_pickle.Unpickler):
    """An unpickler for storages with one more entry, which describes views and is empty since PyTorch 0.4."""

    def persistent_load(self, pid: Any) -> np.ndarray:
        *storage, view = pid
        if view is not None:
            raise ValueError("a storage is a view of another")
        return super().persistent_load(tuple(storage))


class _Outline(_Legacy):
    """An unpickler that records the types of the storages and creates no tensors."""

    def __init__(self, program: bytes, entries: _Storages):
        super().__init__(program, entries)
        self._found = entries.item_bytes
        absent = torch_pickle.Constructor(lambda *args: None)
        self._known = {name: absent if "_rebuild_" in name else made for name, made in self._known.items()}

    def persistent_load(self, pid: Any) -> Any:
        _, scalar, key, *_ = pid
        if scalar not in torch_pickle.STORAGES.values():
            raise ValueError("a storage is described in an unknown way")
        self._found[key] = 2 if scalar == "bfloat16" else np.dtype(scalar).itemsize
        return None

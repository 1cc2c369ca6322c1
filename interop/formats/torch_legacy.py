"""The file format of `torch.save` before PyTorch 1.6, used by the published Inception weights.

Five pickles, one after the other (a magic number, the protocol 1001, the machine, the object, the keys of the
storages), then for each key the number of elements, int64, and their raw bytes. The pickles are read as those of
`torch_pickle`. Source: the documentation of `torch.save`.
"""

import io
import os
import pathlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from core.pickles import Constructor, load
from core.text import first_line
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
            return _read(file, os.fstat(file.fileno()).st_size)
    except CheckpointFormatError:
        raise
    except torch_pickle.UNREADABLE as error:
        raise CheckpointFormatError(
            f"is not a checkpoint of PyTorch before 1.6, or is damaged or truncated ({first_line(error)[:150]}); "
            "nothing in it was executed."
        ) from error


def _read(file: BinaryIO, num_bytes: int) -> Any:
    """The object in a file of `num_bytes`, which is read twice: its storages begin where their types are known."""
    head = io.BytesIO(file.read(torch_pickle.MAX_PICKLE_BYTES))
    item_bytes: dict[str, int] = {}
    _, protocol, machine = (load(head, torch_pickle.NAMES) for _ in range(3))
    if protocol != _PROTOCOL or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise CheckpointFormatError("was written by a PyTorch, or on a machine, that cannot be read.")
    start = head.tell()
    load(head, _OUTLINE, _Outline(item_bytes))
    keys = load(head, torch_pickle.NAMES)
    if not isinstance(keys, list) or len(keys) > _MAX_STORAGES or not all(isinstance(key, str) for key in keys):
        raise CheckpointFormatError("does not list its storages.")
    file.seek(head.tell())
    entries = _Entries(file, keys, item_bytes, num_bytes)
    head.seek(start)
    return load(head, torch_pickle.NAMES, _Storages(entries))


class _Entries(torch_pickle.Entries):
    """The storages after the pickles, under their names in the archives of later versions."""

    def __init__(self, file: BinaryIO, keys: list[str], item_bytes: Mapping[str, int], num_bytes: int):
        self._raw: dict[str, bytes] = {}
        for key in keys:
            (size,) = np.frombuffer(file.read(8), "<i8")
            length = int(size) * item_bytes[key]
            if not 0 <= length <= num_bytes - file.tell():
                raise ValueError(f"storage {key[:20]} reaches beyond the end of the file")
            self._raw[f"data/{key}"] = file.read(length)

    def read(self, name: str) -> bytes:
        return self._raw[name]

    def read_or(self, name: str, default: bytes) -> bytes:
        return default


class _Storages(torch_pickle.Storages):
    """Storages with one more entry, which describes views and is empty since PyTorch 0.4."""

    def __call__(self, pid: Any) -> np.ndarray:
        *storage, view = pid
        if view is not None:
            raise ValueError("a storage is a view of another")
        return super().__call__(tuple(storage))


class _Outline:
    """Records the size of an element of each storage, and creates none."""

    def __init__(self, item_bytes: dict[str, int]):
        self._item_bytes = item_bytes

    def __call__(self, pid: Any) -> None:
        _, scalar, key, *_ = pid
        if scalar not in torch_pickle.STORAGES.values() or not isinstance(key, str):
            raise ValueError("a storage is described in an unknown way")
        self._item_bytes[key] = 2 if scalar == "bfloat16" else np.dtype(scalar).itemsize


_ABSENT = Constructor(lambda *args: None)
_OUTLINE = {name: _ABSENT if "_rebuild_" in name else made for name, made in torch_pickle.NAMES.items()}

"""Features of many images as arrays on disk, so that no more than a batch is ever in memory."""

import functools
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np
from absl import logging

from core.array_files import read_npy
from core.files import remove_stale, write_atomically, writing
from core.reading import UnreadableError
from evaluation.rounds import Rounds, Task, Worker, run_task


class Rows:
    """Some rows of an array [N, D] on disk, which are read when they are indexed."""

    def __init__(self, array: np.ndarray, rows: np.ndarray):
        self._array, self._rows = array, rows
        self.shape, self.ndim, self.dtype = (len(rows), *array.shape[1:]), array.ndim, array.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        return self._array[self._rows[key]]


def gather(task: Task, directory: str | os.PathLike, worker: Worker) -> dict[str, np.ndarray]:
    """Runs a task of features; returns each of its arrays [N, D], in order, as a memory-mapped `.npy` file.

    Its rounds have "index" [B] and other arrays [B, D]. A file that is damaged, or belongs to other rounds, is written
    again.
    """
    num = int(run_task(task, directory, worker)["num_examples"])
    folder, rounds = pathlib.Path(directory) / task.name, Rounds(task, directory)
    found: dict[str, np.ndarray] = {}
    for name, values in sorted(rounds[0].items()):
        if name == "index":
            continue
        path, shape = folder / f"{name}.npy", (num, values.shape[1])
        if (mapped := _mapped(path, shape)) is None:
            write_atomically(path, functools.partial(_write, shape=shape, parts=(arrays[name] for arrays in rounds)))
            mapped = read_npy(path, mapped=True)
        found[name] = mapped
    remove_stale(folder)
    return found


def spool(parts: Iterable[Mapping[str, np.ndarray]], folder: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays [B, D] of all parts, concatenated as memory-mapped files in `folder`; without "index"."""
    folder, widths = pathlib.Path(folder), dict[str, int]()
    for part in parts:
        for name in part.keys() - {"index"}:
            widths[name] = part[name].shape[1]
            with writing(folder), (folder / f"{name}.raw").open("ab") as file:
                file.write(np.ascontiguousarray(part[name], "<f4").tobytes())
    return {
        name: np.memmap(folder / f"{name}.raw", "<f4", mode="r").reshape(-1, width) for name, width in widths.items()
    }


def content_hash(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, shapes and values, computed in chunks of rows."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        for start in range(0, len(array), 4096):
            total.update(np.ascontiguousarray(array[start : start + 4096]).data)
    return total.hexdigest()


def _mapped(path: pathlib.Path, shape: tuple[int, int]) -> np.ndarray | None:
    """The array at `path`; None if it is missing, damaged or of another shape."""
    if not path.exists():
        return None
    try:
        mapped = read_npy(path, mapped=True)
    except UnreadableError as error:
        logging.warning("%s cannot be read (%s) and is written again", path, error)
        return None
    return mapped if mapped.shape == shape and mapped.dtype == np.dtype("<f4") else None


def _write(file: BinaryIO, shape: tuple[int, int], parts: Iterable[np.ndarray]) -> None:
    """An `.npy` file of the rows of all parts."""
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    for part in parts:
        file.write(np.ascontiguousarray(part, "<f4").tobytes())

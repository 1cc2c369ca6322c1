"""Files that are complete or absent: atomic writes, JSON and array files, and locks that end with their process."""

import contextlib
import errno
import fcntl
import json
import logging
import math
import os
import pathlib
import shutil
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np  # imported only where arrays are written: programs that write none start faster

# What a damaged archive raises; RuntimeError where damage looks like encryption or an unknown compression.
UNREADABLE = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, RuntimeError)
STALE_SECONDS = 3600.0  # nothing that is still being written is that old
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def temporary_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The name of a file beside `path`, for the block to write; it is made durable and renamed to `path` at the end.

    A reader sees the old file or the complete new one. The name is unique, so that writers never collide. Creates the
      folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_atomically(path: pathlib.Path, write: Callable[[BinaryIO], object]) -> None:
    """Calls `write` with a temporary file beside `path`, makes it durable and renames it; see `temporary_file`."""
    with temporary_file(path) as temporary, temporary.open("wb") as file:
        write(file)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` as UTF-8, complete or not at all."""
    write_atomically(pathlib.Path(path), lambda file: file.write(text.encode()))


def write_json(path: str | os.PathLike, content: Mapping[str, Any]) -> None:
    """Writes `content` as JSON: sorted keys, so that equal contents are equal bytes, and null for non-finite numbers.

    Arrays become lists, NumPy numbers Python's. Errors: TypeError for what JSON cannot hold.
    """
    text = json.dumps(_plain(content), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    write_text(path, text)


def write_arrays(path: str | os.PathLike, arrays: Mapping[str, "np.ndarray"]) -> None:
    """Writes named arrays as one .npz file."""
    import numpy as np

    write_atomically(pathlib.Path(path), lambda file: np.savez(file, allow_pickle=False, **arrays))


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """A JSON file that was written atomically."""
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def remove_stale(directory: str | os.PathLike) -> None:
    """Removes what killed workers left half-written in `directory`: temporary files and folders over an hour old."""
    for path in pathlib.Path(directory).glob(".*.tmp"):
        try:
            if time.time() - path.stat().st_mtime < STALE_SECONDS:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except FileNotFoundError:  # another worker was first
            continue


@contextlib.contextmanager
def locked(path: pathlib.Path, *, wait: bool = True) -> Iterator[int]:
    """Holds the lock of the file `path`, which stays, and whose lock does not outlive the process; its descriptor.

    wait: wait for the process that holds it; otherwise that is a BlockingIOError. On a file system without locks a
    warning is logged and nothing is locked. Creates the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logging.warning("the file system of %s has no locks: let only one process work there", path.parent)
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(path: pathlib.Path) -> bool:
    """Whether a process holds the lock of this file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _plain(value: Any) -> Any:
    """`value` in Python's own types, with None in place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if hasattr(value, "__array__"):
        return _plain(value.__array__().tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

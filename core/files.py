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
import stat
import struct
import tarfile
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from core.errors import DamagedFileError, DiskError

if TYPE_CHECKING:
    import numpy as np  # imported only where arrays are written: programs that write none start faster

# What the readers of libraries raise for damage. RuntimeError: what looks like encryption or an unknown compression,
# or is nested too deep; MemoryError and ArithmeticError: sizes beyond all bounds; TypeError and LookupError: other
# contents.
UNREADABLE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error, ValueError, TypeError, LookupError,
    ArithmeticError, EOFError, OSError, RuntimeError, MemoryError, SyntaxError,
)  # fmt: skip
MAX_JSON = 2**24  # bytes of a JSON file; what programs write is far smaller, and the objects take 30 times as much
STALE_SECONDS = 3600.0  # nothing that is still being written is that old
_PUBLISH_TRIES = 10  # where no lock keeps others from removing a file that is being written
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what the system says of a disk without space, or a limit
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns what the system says of a file or folder that cannot be written into one sentence. Errors: DiskError."""
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        if error.errno is None:
            raise
        named = error.filename if isinstance(error.filename, str) and not error.filename.endswith(".tmp") else None
        found = f"{os.strerror(error.errno)}: {named}" if named not in (None, str(path)) else os.strerror(error.errno)
        remedy = "free some space" if error.errno in FULL else "make it writable"
        raise DiskError(
            f"{path} cannot be written ({found}); what is finished is kept: {remedy}, and run the same command again.",
            error,
        ) from error


@contextlib.contextmanager
def temporary_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The name of a file beside `path`, for the block to write; it is made durable and renamed to `path` at the end.

    A reader sees the old file or the complete new one. The name is unique, so that writers never collide. Its lock
    shows `remove_stale` that it is being written; if it vanishes all the same, its content is written once more.
    Creates the folder. Errors: DiskError.
    """
    with _temporary_file(path) as (temporary, _):
        yield temporary


@contextlib.contextmanager
def _temporary_file(path: pathlib.Path) -> Iterator[tuple[pathlib.Path, int]]:
    """`temporary_file` with its descriptor, by which the content is found whatever becomes of the name."""
    temporary = _temporary(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _held(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL) as descriptor:
            try:
                yield temporary, descriptor
                for remaining in reversed(range(_PUBLISH_TRIES)):
                    try:
                        _publish(temporary, path)
                        break
                    except FileNotFoundError:
                        if not remaining:
                            raise
                        temporary = _copied(descriptor, _temporary(path))
            finally:
                temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def temporary_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new folder beside `path`, for the block to fill and rename; removed at the end. Errors: DiskError."""
    temporary = _temporary(path)
    with writing(path):
        temporary.mkdir(parents=True)
        with _held(temporary, os.O_RDONLY):
            try:
                yield temporary
            finally:
                shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


@contextlib.contextmanager
def _held(path: pathlib.Path, flags: int) -> Iterator[int]:
    """Opens a file or folder and holds its lock, where the file system has locks; its descriptor."""
    descriptor = os.open(path, flags, 0o666)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def _publish(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Makes a file durable and gives it its name."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _copied(descriptor: int, path: pathlib.Path) -> pathlib.Path:
    """Writes the content of an open file, which may have lost its name, to `path`."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as source, path.open("wb") as file:
        shutil.copyfileobj(source, file)
    return path


def write_atomically(path: pathlib.Path, write: Callable[[BinaryIO], object]) -> None:
    """Calls `write` with a temporary file beside `path`, makes it durable and renames it; see `temporary_file`."""
    with _temporary_file(path) as (_, descriptor), os.fdopen(os.dup(descriptor), "wb") as file:
        write(file)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` as UTF-8, complete or not at all; half a character, as JSON may have it, becomes an escape."""
    write_atomically(pathlib.Path(path), lambda file: file.write(text.encode(errors="backslashreplace")))


def write_json(path: str | os.PathLike, content: Mapping[str, Any]) -> None:
    """Writes `content` as JSON: sorted keys, so that equal contents are equal bytes, and null for non-finite numbers.

    Arrays become lists, NumPy numbers Python's. Errors: TypeError for what JSON cannot hold; DiskError.
    """
    text = json.dumps(_plain(content), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    write_text(path, text)


def write_arrays(path: str | os.PathLike, arrays: Mapping[str, "np.ndarray"]) -> None:
    """Writes named arrays as one .npz file."""
    import numpy as np

    write_atomically(pathlib.Path(path), lambda file: np.savez(file, allow_pickle=False, **arrays))


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """A JSON object. Errors: DamagedFileError, which names the file, for anything else; FileNotFoundError."""
    try:
        if (size := size_of(path)) > MAX_JSON:
            raise damaged_file(path, f"is damaged: it has {size:,} bytes, and files of this kind at most {MAX_JSON:,}")
        found = parse_object(pathlib.Path(path).read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise damaged_file(path, f"cannot be read ({error.strerror})") from error
    if found is None:
        raise damaged_file(path, "is damaged: it holds no JSON object")
    return found


def size_of(path: str | os.PathLike) -> int:
    """The size of a file, in bytes. Errors: OSError for what is no file, such as a pipe, which no one may ever fill."""
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe, a socket, or a device, not a file", str(path))
    return found.st_size


def damaged_file(path: str | os.PathLike, problem: str) -> DamagedFileError:
    """The error for a file with a `problem`, such as "is damaged"."""
    return DamagedFileError(f"{path} {problem}; restore it from a copy, or remove it, and run the same command again.")


def parse_object(text: bytes) -> dict[str, Any] | None:
    """The JSON object of a text; None for anything else: part of one, other values, bytes that are not UTF-8."""
    try:
        found = json.loads(text.decode())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def json_lines(text: bytes) -> Iterator[dict[str, Any]]:
    """The lines of a text that are JSON objects; skips all others, such as one that a kill cut off."""
    for line in text.splitlines():
        if (found := parse_object(line)) is not None:
            yield found


def append_json_line(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Adds a line to a file; one that a kill cut off before it stays a line of its own. Errors: DiskError."""
    with writing(path), path.open("a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        start = b"\n" if file.read(1) not in (b"", b"\n") else b""
        file.write(start + json.dumps(content).encode() + b"\n")


def remove_stale(directory: str | os.PathLike, age: float = STALE_SECONDS) -> None:
    """Removes what killed workers left half-written in `directory`: temporary files and folders older than `age` s.

    What another process is writing is locked, and stays, however old the clocks of two machines say that it is.
    """
    for path in pathlib.Path(directory).glob(".*.tmp"):
        try:
            if abs(time.time() - path.stat().st_mtime) < age or is_locked(path):
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:  # another worker was first, or it is not ours to remove
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
    """Whether a process holds the lock of this file or folder; False where it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    finally:
        os.close(descriptor)
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

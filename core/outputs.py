"""Where results go, which is tried before the work."""

import contextlib
import errno
import os
import pathlib
import tempfile
from collections.abc import Iterator

from core.files import writing

PROBE = bytes(1 << 16)
OF_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # what is no fault of the command


def refuse_existing(path: pathlib.Path) -> None:
    """Errors: FileExistsError, one sentence, where there is something at `path`."""
    if path.exists():
        raise FileExistsError(f"{path} already exists; remove it, or give another name.")


def check_folder(folder: pathlib.Path, what: str) -> None:
    """Tries to write in a folder, or where it would be made; `what` is how the error names it. Leaves nothing behind.

    Errors: ValueError, one sentence, where that fails, such as for a path below a file; DiskError for a full or
    read-only disk.
    """
    with _refused(folder, what), tempfile.TemporaryFile(dir=_existing(folder)) as file:
        file.write(PROBE)
        file.flush()
        os.fsync(file.fileno())


def check_file(path: pathlib.Path, what: str, new: bool = False) -> None:
    """Tries to write in the folder of the file `path`; see `check_folder`.

    new: refuse what exists. Errors: ValueError, one sentence, also for a folder; FileExistsError.
    """
    with _refused(path, what):
        there = _existing(path) == path
    if there and new:
        refuse_existing(path)
    if there and path.is_dir():
        raise ValueError(f"{what} is a folder; give the name of a file.")
    check_folder(path.parent, what)


@contextlib.contextmanager
def _refused(path: pathlib.Path, what: str) -> Iterator[None]:
    """Turns what the system says of a path into one sentence. Errors: ValueError, DiskError."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a null byte
        if getattr(error, "errno", None) in OF_DISK:
            with writing(path):
                raise
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"{what} cannot be written to ({reason}); give a folder on a disk with space, in which files can be made."
        ) from error


def _existing(folder: pathlib.Path) -> pathlib.Path:
    """The folder itself, or the nearest above it that exists. Errors: OSError where it can never be made."""
    for path in (folder, *folder.parents):
        try:
            os.stat(path)
            return path
        except FileNotFoundError:
            if path.is_symlink():  # to nothing
                raise
    return folder

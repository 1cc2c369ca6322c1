"""One trainer on a workdir: a lock that ends with its process, however that ends."""

import contextlib
import errno
import fcntl
import logging
import os
import pathlib
import socket
from collections.abc import Iterator

from training.errors import RunError

NAME = "train.lock"


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Makes `workdir` and holds the lock on it; the file stays, its lock does not outlive the process.

    Errors: RunError where another trainer has it, or where the workdir cannot be written.
    """
    path = workdir / NAME
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunError(
            f"The workdir {workdir} cannot be written ({os.strerror(error.errno or 0)}); "
            "make it writable, or give another --workdir."
        ) from error
    try:
        _acquire(descriptor, workdir)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, workdir: pathlib.Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        raise RunError(
            f"Another trainer is at work in {workdir} ({holder or 'unknown'}); wait for it, stop it, or give another "
            "--workdir."
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        logging.warning("the file system of %s has no locks: see to it that only one trainer runs there", workdir)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

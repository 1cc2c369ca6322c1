"""One trainer per workdir."""

import contextlib
import os
import pathlib
import socket
from collections.abc import Iterator

from core.errors import RunError
from core.files import locked

NAME = "train.lock"


@contextlib.contextmanager
def workdir_lock(workdir: pathlib.Path) -> Iterator[None]:
    """Creates `workdir` and holds its lock. Errors: RunError if another trainer holds it, or if it is not writable."""
    path = workdir / NAME
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(locked(path, wait=False))
        except BlockingIOError:
            holder = path.read_text(encoding="utf-8", errors="replace").strip()
            raise RunError(
                f"Another trainer is running in {workdir} ({holder or 'unknown'}); wait for it, stop it, or give "
                "another --workdir."
            ) from None
        except OSError as error:
            raise RunError(
                f"The workdir {workdir} cannot be written ({os.strerror(error.errno or 0)}); "
                "make it writable, or give another --workdir."
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield

"""One trainer per workdir."""

import contextlib
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import NamedTuple

from core.errors import RunError
from core.files import locked, writing

NAME = "train.lock"


class Lock(NamedTuple):
    """The lock of a workdir, which `workdir_lock` holds."""

    path: pathlib.Path
    descriptor: int

    def check(self) -> None:
        """Errors: RunError where the workdir was removed or replaced, so that another trainer may have its lock."""
        try:
            is_ours = os.path.samestat(self.path.stat(), os.fstat(self.descriptor))
        except OSError:
            is_ours = False
        if not is_ours:
            raise RunError(
                f"The workdir {self.path.parent} was removed or replaced while this run was training in it; put it "
                "back, or give another --workdir, and run the same command again."
            )


@contextlib.contextmanager
def workdir_lock(workdir: pathlib.Path) -> Iterator[Lock]:
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
        with writing(path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield Lock(path, descriptor)

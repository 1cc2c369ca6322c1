"""One process of `main.py` for a run: its lock, its log, and its exit code."""

import contextlib
import fcntl
import os
import signal
import subprocess
import time

from core.files import writing
from sweeps.runs import Run, record


class BusyError(Exception):
    """Another process is working on this part of the run."""


class Attempt:
    """A process that trains or evaluates.

    It inherits a lock, which the operating system releases when the process ends for any reason: the lock shows whether
    the process is running, even after the sweep that started it has ended. Errors: BusyError if another process holds
    the lock. lock: its file descriptor.
    """

    def __init__(self, run: Run, mode: str, worker: int = 0, workers: int = 1, own_session: bool = True):
        self.run, self.mode, self._asked = run, mode, False
        with writing(run.own):
            run.own.mkdir(parents=True, exist_ok=True)
            self.lock = os.open(run.lock(mode, worker), os.O_RDWR | os.O_CREAT, 0o644)
        if not _acquire(self.lock):
            os.close(self.lock)
            raise BusyError
        with contextlib.suppress(OSError):  # the process of an earlier attempt, which has ended
            os.ftruncate(self.lock, 0)
        with writing(run.own), run.log(mode, worker).open("ab") as log:
            self.process = subprocess.Popen(
                run.command(mode, worker, workers),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self.lock,),
                start_new_session=own_session,  # else Ctrl-C reaches it too, as a second signal
            )
        with contextlib.suppress(OSError):  # on a full disk; the lock is held all the same
            os.pwrite(self.lock, f"{self.process.pid}\n".encode(), 0)

    def poll(self) -> int | None:
        """The exit code, 128 + number for a signal, which is then recorded; None while the process is running."""
        code = self.process.poll()
        if code is None:
            return None
        code = 128 - code if code < 0 else code
        record(self.run, self.mode, code)
        os.close(self.lock)
        return code

    def stop(self) -> None:
        """Requests, once, that it save and end; a second signal would end it at once."""
        if not self._asked and self.process.poll() is None:
            self._asked = True
            self.process.send_signal(signal.SIGTERM)


def _acquire(lock: int) -> bool:
    for _ in range(10):  # a process that checks the lock holds it for a moment
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
    return False

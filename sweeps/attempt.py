"""One process of `main.py` for a run: its lock, its log, its exit code."""

import fcntl
import os
import signal
import subprocess
import time

from sweeps.runs import Run, record


class BusyError(Exception):
    """Another process is at work on this part of the run."""


class Attempt:
    """A process that trains or evaluates.

    It inherits a lock, which the system takes back when it ends, however that comes about: whoever looks at the lock
    knows whether it is at work, even when the sweep that started it is gone.
    Errors: BusyError where another process has it.
    """

    def __init__(self, run: Run, mode: str, worker: int = 0, workers: int = 1, own_session: bool = True):
        self.run, self.mode, self._asked = run, mode, False
        run.own.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(run.lock(mode, worker), os.O_RDWR | os.O_CREAT, 0o644)
        if not _acquire(self._lock):
            os.close(self._lock)
            raise BusyError
        with run.log(mode, worker).open("ab") as log:
            self.process = subprocess.Popen(
                run.command(mode, worker, workers),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self._lock,),
                start_new_session=own_session,  # else Ctrl-C would reach it as well, a second time, which is rude
            )
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{self.process.pid}\n".encode(), 0)

    def poll(self) -> int | None:
        """The exit code, 128 + number for a signal, which is then on record; None while it is at work."""
        code = self.process.poll()
        if code is None:
            return None
        code = 128 - code if code < 0 else code
        record(self.run, self.mode, code)
        os.close(self._lock)
        return code

    def stop(self) -> None:
        """Asks it, once, to save and to end; a second time would end it at once."""
        if not self._asked and self.process.poll() is None:
            self._asked = True
            self.process.send_signal(signal.SIGTERM)


def _acquire(lock: int) -> bool:
    for _ in range(10):  # whoever looks whether it is taken has it for a moment
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
    return False

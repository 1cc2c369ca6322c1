"""Signals: the trainer stops after the current step; other programs report what they have written and exit.

Python's own handlers wait for the main thread, which may be compiling for minutes. Here the system also writes the
number of a signal into a pipe, which wakes a thread that answers at once.
"""

import contextlib
import os
import signal
import threading
import types
from collections.abc import Callable, Iterator
from typing import NoReturn

from core import progress

SIGNALS = (signal.SIGTERM, signal.SIGINT)
AGAIN = {"SIGINT": "press again", "SIGTERM": "send it again"}


class StopRequest:
    """After `install()`, `signal` is the name of the SIGTERM or SIGINT received, or None.

    The first signal is acknowledged on the console and restores the default action of both. A second one ends the
    process at once, even during a compilation; the shell sees 128 + its number.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self._was_acknowledged = False

    def install(self) -> "StopRequest":
        """Starts to handle signals; only in the main thread."""
        _answer(self._acknowledge)
        for number in SIGNALS:
            signal.signal(number, self._record)
        return self

    def _record(self, number: int, frame: types.FrameType | None) -> None:
        self.signal = signal.Signals(number).name
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    def _acknowledge(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._was_acknowledged:  # the main thread has not come to `_record` yet
            _exit(number, "checkpoints are kept; start the same command again.")
        self._was_acknowledged, self.signal = True, name
        progress.say(f"{name}: finishing the current step; {AGAIN[name]} to quit now")


@contextlib.contextmanager
def report_on_signal(message: Callable[[], str]) -> Iterator[None]:
    """Within this context, SIGTERM or SIGINT prints one line, `message()`, and exits at once with 128 + its number.

    Only in the main thread.
    """
    writing, before = _answer(lambda number: _exit(number, message()))
    handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(writing)


def _answer(act: Callable[[int], None]) -> tuple[int, int]:
    """Calls `act(number)` in a thread for each signal that has a handler; the end of the pipe to close, and the former.

    The thread ends when that end of the pipe is closed.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def wait() -> None:
        while number := os.read(reading, 1):
            if number[0] in SIGNALS:
                act(number[0])
        os.close(reading)

    threading.Thread(target=wait, daemon=True).start()
    return writing, signal.set_wakeup_fd(writing)


def _exit(number: int, message: str) -> NoReturn:
    try:
        progress.hide()
        progress.say(f"stopped by {signal.Signals(number).name}: {message}")
    finally:
        os._exit(128 + number)

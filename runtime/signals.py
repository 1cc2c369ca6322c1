"""Signals: the trainer stops after the current step; other programs report what they have written and exit."""

import contextlib
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """After `install()`, `signal` is the name of the SIGTERM or SIGINT received, or None.

    The handler only records it and restores the default action of both signals: a second one ends the process at once,
    even during a compilation, and the shell sees 128 + its number.
    """

    def __init__(self) -> None:
        self.signal: str | None = None

    def install(self) -> "StopRequest":
        """Starts to handle signals; only in the main thread."""
        for number in SIGNALS:
            signal.signal(number, self._record)
        return self

    def _record(self, number: int, frame: types.FrameType | None) -> None:
        self.signal = signal.Signals(number).name
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)


@contextlib.contextmanager
def report_on_signal(message: Callable[[], str]) -> Iterator[None]:
    """Within this context, SIGTERM or SIGINT prints one line, `message()`, and exits at once with 128 + its number.

    Python's own handlers wait for the main thread, which may be compiling for minutes. Here the system writes the
    number of the signal into a pipe, which wakes a thread that prints and exits. Only in the main thread.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def wait() -> None:
        while number := os.read(reading, 1):  # empty once the context has ended and closed the pipe
            if number[0] in SIGNALS:
                try:
                    print(f"stopped by {signal.Signals(number[0]).name}: {message()}", file=sys.stderr, flush=True)
                finally:
                    os._exit(128 + number[0])
        os.close(reading)

    threading.Thread(target=wait, daemon=True).start()
    before = signal.set_wakeup_fd(writing)
    handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(writing)

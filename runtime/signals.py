"""A polite end: a signal asks for it, the trainer looks once a step, and what has no steps says a last word."""

import contextlib
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """`install()`, then `signal` is None, or the name of the SIGTERM or SIGINT that has come.

    The handler only notes it, and gives both signals back to the system: a second one ends the process at once, even
    inside a compilation, and a shell sees 128 + its number.
    """

    def __init__(self) -> None:
        self.signal: str | None = None

    def install(self) -> "StopRequest":
        """Listens from now on; in the main thread only."""
        for number in SIGNALS:
            signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        self.signal = signal.Signals(number).name
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)


@contextlib.contextmanager
def report_on_signal(say: Callable[[], str]) -> Iterator[None]:
    """In here a SIGTERM or SIGINT ends the process at once, with 128 + its number, after one line: what `say()` says.

    Python's own handlers wait for the main thread, which may be inside a compilation for minutes: here the number that
    the system writes into a pipe wakes a thread, which speaks and leaves. In the main thread only.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def wait() -> None:
        while number := os.read(reading, 1):  # nothing: it is over, and the other end closed
            if number[0] in SIGNALS:
                try:
                    print(f"stopped by {signal.Signals(number[0]).name}: {say()}", file=sys.stderr, flush=True)
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

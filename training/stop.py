"""A polite end: a signal asks for it, the trainer looks once a step."""

import signal
import types


class StopRequest:
    """`install()`, then `signal` is None, or the name of the SIGTERM or SIGINT that has come.

    The handler only notes it, and gives both signals back to the system: a second one ends the process at once, even
    inside a compilation, and a shell sees 128 + its number.
    """

    def __init__(self) -> None:
        self.signal: str | None = None

    def install(self) -> "StopRequest":
        """Listens from now on; in the main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        self.signal = signal.Signals(number).name
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)

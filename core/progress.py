"""Signs of life: what is being done, how much of it is done, how fast, and how long it will take.

On a terminal a bar below the lines of the log, elsewhere a line of the log wherever nothing else was said for a while.
"""

import collections
import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID
from rich.progress import Task as Row
from rich.text import Text

T = TypeVar("T")

FIRST, QUIET = 10.0, 25.0  # seconds of silence until the first line about a phase, and until each further one
REFRESH = 0.5  # seconds between two looks at what is under way
WINDOW = 600.0  # seconds over which the pace is averaged
NAME_WIDTH, BAR_WIDTH = 27, 10  # characters; the rest of 80 is for numbers


class Phase:
    """Something that takes a while: `done` of `total` units, or without units where `total` is None."""

    def __init__(self, name: str, total: int | None = None, unit: str = "part", done: int = 0):
        self.name, self.total, self.unit, self.done = name, total, unit, done
        self.began, self.was_said = time.monotonic(), False
        self._first = done
        self._marks: collections.deque[tuple[float, int]] = collections.deque()

    def advance(self, num: int = 1) -> None:
        """`num` more units are done."""
        self.done += num
        now, marks = time.monotonic(), self._marks
        if len(marks) > 1 and now - marks[-2][0] < 1:
            marks[-1] = (now, self.done)
        else:
            marks.append((now, self.done))
        while len(marks) > 2 and now - marks[1][0] > WINDOW:
            marks.popleft()

    def skip(self, num: int = 1) -> None:
        """`num` more units were done before, which says nothing about the pace."""
        self.done, self._first = self.done + num, self._first + num
        self._marks.clear()

    @property
    def rate(self) -> float:
        """Units per second, a running average; where it can be left out, without the first one, which compiles."""
        marks = list(self._marks)
        if len(marks) > 1:
            (start, first), (end, last) = marks[0], marks[-1]
        else:
            start, first, end, last = self.began, self._first, time.monotonic(), self.done
        return (last - first) / max(end - start, 1e-9)

    @property
    def seconds_left(self) -> float:
        """How long the rest will take; infinity where nothing is known."""
        return (self.total - self.done) / self.rate if self.total is not None and self.rate else float("inf")

    @property
    def figures(self) -> str:
        """What is done, the pace, and the time left; or for how long it has been under way."""
        elapsed = time.monotonic() - self.began
        if self.total is None:
            return f"{elapsed:.0f} s"
        counted, rate = f"{self.done}/{self.total} {self.unit}s", self.rate
        if not rate:
            return f"{counted}, {elapsed:.0f} s"
        pace = f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each"
        return f"{counted}, {pace}, {duration(self.seconds_left)} left"

    def __str__(self) -> str:
        """The line of the log."""
        return f"{self.name} ... {self.figures}" if self.total is None else f"{self.name}: {self.figures}"


@contextlib.contextmanager
def phase(name: str, total: int | None = None, unit: str = "part", done: int = 0) -> Iterator[Phase]:
    """Shows what is done within this context: `total` units, `done` of them before it began."""
    shown = Phase(name, total, unit, done)
    _display.begin(shown)
    try:
        yield shown
    finally:
        _display.end(shown)


def each(parts: Iterable[T], name: str, total: int, unit: str = "part") -> Iterator[T]:
    """The parts, one after the other; each is done when the next is asked for."""
    with phase(name, total, unit) as shown:
        for part in parts:
            yield part
            shown.advance()


def duration(seconds: float) -> str:
    """Such as `0:40`, `12:03` or `3:00:00`."""
    if seconds == float("inf"):
        return "unknown time"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def say(line: str) -> None:
    """Writes a line to the error stream, above the bar if there is one."""
    _display.say(line)


def hide() -> None:
    """Ends all phases and removes the bar, for a process that is about to end with an error."""
    _display.clear()


class LogHandler(logging.Handler):
    """Writes the log to the error stream by `say`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        try:
            say(self.format(record))
        except Exception:
            self.handleError(record)


class _Terminal(Console):
    def show_cursor(self, show: bool = True) -> bool:
        return False  # a process that is killed would leave it hidden


class _Figures(ProgressColumn):
    def render(self, task: Row) -> Text:
        return Text(task.fields["phase"].figures, no_wrap=True, overflow="ellipsis")


class _Name(ProgressColumn):
    def render(self, task: Row) -> Text:
        return Text(task.description[:NAME_WIDTH], no_wrap=True)


class _Display:
    """The phases that are under way, the innermost last; a thread shows them until the last one ends."""

    def __init__(self) -> None:
        self._terminal = _Terminal(stderr=True, force_jupyter=False)
        self._lock = threading.RLock()
        self._phases: list[Phase] = []
        self._rows: dict[Phase, TaskID] = {}
        self._bar: Progress | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._said = 0.0  # when the last line was written

    def begin(self, phase: Phase) -> None:
        with self._lock:
            self._phases.append(phase)
            if self._thread is None:
                self._ended = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(self._ended,), daemon=True)
                self._thread.start()

    def end(self, phase: Phase) -> None:
        with self._lock:
            if phase in self._phases:
                self._phases.remove(phase)
            if self._phases:
                return
            thread, self._thread = self._thread, None
            self._ended.set()
        if thread is not None:
            thread.join()

    def clear(self) -> None:
        with self._lock:
            self._phases.clear()
            self._thread = None
            self._ended.set()
            self._hide()

    def say(self, line: str) -> None:
        with self._lock:
            self._said = time.monotonic()
            if self._bar is None:
                print(line, file=sys.stderr, flush=True)
            else:
                self._terminal.print(Text(line), soft_wrap=True)

    def _hide(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = None
        self._rows.clear()

    def _run(self, ended: threading.Event) -> None:
        while not ended.wait(REFRESH):
            if self._terminal.is_terminal and not self._terminal.is_dumb_terminal:
                self._draw(ended)
            else:
                self._report()
        with self._lock:
            if self._ended is ended:  # not the bar of a later one
                self._hide()

    def _draw(self, ended: threading.Event) -> None:
        with self._lock:
            if ended.is_set():
                return
            if self._bar is None:
                columns = (_Name(), BarColumn(BAR_WIDTH), _Figures())
                self._bar = Progress(
                    *columns,
                    console=self._terminal,
                    transient=True,
                    auto_refresh=False,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._bar.start()
            for shown in self._rows.keys() - set(self._phases):
                self._bar.remove_task(self._rows.pop(shown))
            for shown in self._phases:
                if shown not in self._rows:
                    self._rows[shown] = self._bar.add_task(shown.name, total=shown.total, phase=shown)
                self._bar.update(self._rows[shown], completed=shown.done)
            self._bar.refresh()

    def _report(self) -> None:
        with self._lock:
            if not self._phases:
                return
            shown = self._phases[-1]
            silence = time.monotonic() - max(self._said, shown.began)
            due = silence >= (QUIET if shown.was_said else FIRST)
            if due:
                shown.was_said, self._said = True, time.monotonic()
        if due:
            logging.info("%s", shown)


_display = _Display()

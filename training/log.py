"""Metrics, written to the console, to JSON lines and to TensorBoard."""

import io
import itertools
import json
import logging
import os
import pathlib
import socket
import time
import types
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from tensorboardX import summary
from tensorboardX.proto import event_pb2
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from core.errors import DiskError
from core.files import parse_object, write_atomically, writing
from core.text import first_line
from data.images import ERRORS, decode_color
from reports.records import METRICS, Checkpoint
from training.tracking import Tracking

BOARD = "tensorboard"  # in the workdir: the events of training, and a folder for each evaluation
_EVENTS = "events.out.tfevents."


class Board:
    """An event file of TensorBoard in `folder`, written at once, so that a full disk is noticed where it matters.

    TensorBoard reads the files in the order of their names, which begin with the seconds since the epoch. This one
    comes last, whatever the clock says. `purge_step`: events from this step on, in earlier files, are hidden.
    Errors: DiskError.
    """

    def __init__(self, folder: pathlib.Path, purge_step: int | None = None):
        self.folder = folder.absolute()
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            newest = max((_seconds(path) for path in self.folder.iterdir()), default=0)
            name = f"{max(int(time.time()), newest + 1):010d}.{socket.gethostname()}.{os.getpid()}"
            self._file = RecordWriter(str(self.folder / f"{_EVENTS}{name}"))
        self._write(event_pb2.Event(file_version="brain.Event:2", wall_time=time.time()))
        if purge_step is not None:
            begins = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(event_pb2.Event(step=purge_step, wall_time=time.time(), session_log=begins))

    def add(self, step: int, content: Any) -> None:
        """Adds a summary of `step`."""
        self._write(event_pb2.Event(step=step, wall_time=time.time(), summary=content))

    def _write(self, event: Any) -> None:
        with writing(self.folder):
            self._file.write(event.SerializeToString())

    def close(self) -> None:
        """Waits until everything is on disk."""
        with writing(self.folder):
            try:
                self._file.flush()
            finally:
                self._file.close()


def _seconds(path: pathlib.Path) -> int:
    """The time in the name of an event file; 0 for other files."""
    seconds = path.name.removeprefix(_EVENTS).partition(".")[0]
    return int(seconds) if path.name.startswith(_EVENTS) and seconds.isdecimal() and len(seconds) == 10 else 0


class MetricsLog:
    """Writes scalars to `<workdir>/metrics.jsonl`, to `<workdir>/tensorboard/` and, as one line, to the console.

    A run that resumes from `first_step` first drops the lines after it, so that the file reads as if the run had never
    stopped. For TensorBoard, events after `first_step` are purged. tracking: what a tracker was already sent stays, and
    these lines, which are the same but for the speed, are not written again. Errors: DiskError.
    """

    def __init__(self, workdir: str | pathlib.Path, first_step: int, tracking: Tracking | None = None):
        self.path, self._tracking = pathlib.Path(workdir) / METRICS, tracking
        with writing(self.path):
            self._sent = self._drop_after(first_step, tracking.sent_bytes if tracking else 0)
            self._file = self.path.open("a", encoding="utf-8")
        try:
            self._board = Board(pathlib.Path(workdir) / BOARD, purge_step=first_step + 1)
        except DiskError:
            self._file.close()
            raise

    def _drop_after(self, step: int, num_sent: int) -> set[tuple[int, frozenset[str]]]:
        """Drops the lines after `step`, except in the first `num_sent` bytes; which lines after it are kept."""
        if not self.path.exists():
            return set()
        content = self.path.read_bytes()
        lines = content.splitlines(keepends=True)
        steps = [_step_of(line) for line in lines]
        if any(found is None for found in steps[:-1]):
            copy = self.path.with_name(f"{self.path.name}.damaged")
            logging.warning("%s has lines that are no metrics: they are left out, and remain in %s", self.path, copy)
            write_atomically(copy, lambda file: file.write(content))
        ends = itertools.accumulate(map(len, lines))
        known = [(line, found, end <= num_sent) for line, found, end in zip(lines, steps, ends, strict=True)]
        kept = b"".join(line for line, found, sent in known if found is not None and (sent or found <= step))
        if kept != content:
            write_atomically(self.path, lambda file: file.write(kept))
        return {_key(json.loads(line)) for line, found, sent in known if found is not None and sent and found > step}

    def write(self, step: int, metrics: dict[str, float], line: str) -> None:
        """Writes `metrics` of `step`; `line` is for the console. Errors: DiskError."""
        content = {"step": step, **metrics}
        if _key(content) not in self._sent:
            with writing(self.path):
                self._file.write(json.dumps(content) + "\n")
                self._file.flush()
        if self._tracking is not None:
            self._tracking.send(self.path)
        for name, value in metrics.items():
            self._board.add(step, summary.scalar(name, value))
        logging.info(line)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes a uint8 image [H, W, C] for TensorBoard and the tracker."""
        self._board.add(step, summary.image(name, image, dataformats="HWC"))
        if self._tracking is not None:
            self._tracking.image(step, name, image)

    def sync(self) -> None:
        """Waits until everything is on disk; needed before a checkpoint, whose steps are not logged again.

        Errors: DiskError.
        """
        with writing(self.path):
            os.fsync(self._file.fileno())
        if self._tracking is not None:
            self._tracking.sync()
        self._board.close()  # an event file that is complete is never written again
        self._board = Board(self._board.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        try:
            with writing(self.path), self._file:
                pass
            self._board.close()
        except DiskError as unwritten:
            if error is None:
                raise
            logging.error("%s", unwritten)  # the error that ended the run is the one to report


class SilentLog(MetricsLog):
    """The log of every process but the first; writes nothing."""

    def __init__(self) -> None:
        pass

    def write(self, step: int, metrics: dict[str, float], line: str) -> None:
        """Does nothing."""

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Does nothing."""

    def sync(self) -> None:
        """Does nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        pass


def write_evaluation(folder: pathlib.Path, checkpoints: Sequence[Checkpoint]) -> None:
    """The checkpoints evaluated in `folder` for TensorBoard, in place of what was written earlier.

    Every column against the steps, and the grids of samples, below the name of the folder. Errors: DiskError.
    """
    target = folder.parent / BOARD / folder.name
    for path in target.glob(f"{_EVENTS}*"):
        path.unlink(missing_ok=True)
    board = Board(target)
    for checkpoint in checkpoints:
        step, numbers = checkpoint.report["step"], checkpoint.numbers
        shown = [column for column in checkpoint.columns if column.path in numbers]
        # Not by summary.scalar, which would change the headings: spaces and parentheses.
        values = [Summary.Value(tag=column.heading, simple_value=numbers[column.path]) for column in shown]
        board.add(step, Summary(value=values))
        if checkpoint.grid:
            try:
                pixels = decode_color(io.BytesIO(checkpoint.grid))
            except ERRORS as error:
                logging.warning("the grid of samples of step %d in %s is left out: %s", step, folder, first_line(error))
                continue
            board.add(step, summary.image("samples", pixels, dataformats="HWC"))
    board.close()


def _key(line: dict[str, Any]) -> tuple[int, frozenset[str]]:
    """What tells a line from the others: its step, and the names in it."""
    return line["step"], frozenset(line)


def _step_of(line: bytes) -> int | None:
    """The step of a line of metrics; None for what is none: a killed process may leave part of one."""
    found = (parse_object(line) or {}).get("step") if line.endswith(b"\n") else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None

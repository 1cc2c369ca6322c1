"""Metrics, written to the console, to JSON lines and to TensorBoard."""

import json
import logging
import os
import pathlib
import types
from typing import Self

import numpy as np
from tensorboardX import SummaryWriter

from core.files import write_text


class MetricsLog:
    """Writes scalars to `<workdir>/metrics.jsonl`, to `<workdir>/tensorboard/` and, as one line, to the console.

    A run that resumes from `first_step` first drops the lines after it, so that the file reads as if the run had never
    stopped. For TensorBoard, events after `first_step` are purged.
    """

    def __init__(self, workdir: str | pathlib.Path, first_step: int):
        self.path = pathlib.Path(workdir) / "metrics.jsonl"
        self._drop_after(first_step)
        self._file = self.path.open("a", encoding="utf-8")
        self._board_path, self._num_boards = pathlib.Path(workdir) / "tensorboard", 0
        self._board = self._open_board(purge_step=first_step + 1)

    def _open_board(self, purge_step: int | None = None) -> SummaryWriter:
        self._num_boards += 1  # files opened within one second would have the same name
        suffix = f".{os.getpid()}.{self._num_boards}"
        return SummaryWriter(str(self._board_path), purge_step=purge_step, filename_suffix=suffix)

    def _drop_after(self, step: int) -> None:
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if _is_complete(line) and json.loads(line)["step"] <= step]
        if kept == lines:
            return
        write_text(self.path, "".join(kept))

    def write(self, step: int, metrics: dict[str, float], line: str) -> None:
        """Writes `metrics` of `step`; `line` is for the console."""
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)
        logging.info(line)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes a uint8 image [H, W, C] for TensorBoard."""
        self._board.add_image(name, image, step, dataformats="HWC")

    def sync(self) -> None:
        """Waits until everything is on disk; needed before a checkpoint, whose steps are not logged again."""
        os.fsync(self._file.fileno())
        self._board.close()  # the only way to flush tensorboardX's queue
        self._board = self._open_board()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()


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


def _is_complete(line: str) -> bool:
    """Whether a line is complete; a killed process may leave part of one."""
    try:
        return line.endswith("\n") and "step" in json.loads(line)
    except (ValueError, TypeError):
        return False

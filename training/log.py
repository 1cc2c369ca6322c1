"""Metrics to three places: the console, JSON lines and TensorBoard."""

import json
import logging
import pathlib
import types
from typing import Self

import numpy as np
from tensorboardX import SummaryWriter


class MetricsLog:
    """Writes scalars to `<workdir>/metrics.jsonl`, to `<workdir>/tensorboard/` and, as one line, to the console.

    A run that resumes at `first_step` first drops the lines after it: the file reads as if it had never stopped.
    """

    def __init__(self, workdir: str | pathlib.Path, first_step: int):
        self.path = pathlib.Path(workdir) / "metrics.jsonl"
        self._drop_after(first_step)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(pathlib.Path(workdir) / "tensorboard"), purge_step=first_step + 1)

    def _drop_after(self, step: int) -> None:
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        # A kill can cut the last line short.
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        self.path.write_text("".join(kept), encoding="utf-8")

    def write(self, step: int, metrics: dict[str, float], line: str) -> None:
        """Records `metrics` of `step`; `line` goes to the console."""
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)
        logging.info(line)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Records a picture, uint8 [H, W, C], for TensorBoard."""
        self._board.add_image(name, image, step, dataformats="HWC")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()

"""What a tracker is sent: every line of the log of metrics once, also where a run is killed and resumed."""

import functools
import json
import logging
import math
import pathlib
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core.files import read_json, write_json
from core.text import first_line
from training.trackers import Tracker, find

STATE = "tracker.json"  # in the workdir: of each tracker the id of the run, and how much of the log it has


class Tracking:
    """A tracker of a run, opened when there is something to send.

    A tracker cannot take back what it has: a run that resumes keeps the lines of the log that it has for good, see
    `MetricsLog`. What fails is logged and sent later: a tracker never ends a run. Errors: ValueError for a tracker that
    does not exist or is not installed.
    """

    def __init__(self, name: str, workdir: pathlib.Path, config: Mapping[str, Any]):
        self.name, self._workdir, self._config = name, workdir, config
        (self._open, self._settles), self._failed = find(name), False
        self._tracker: Tracker | None = None
        self._kept: dict[str, Any] = {"run": uuid.uuid4().hex[:12], "bytes": 0, "image_step": 0}
        path = workdir / STATE
        self._kept |= read_json(path).get(name, {}) if path.exists() else {}
        self._sent, self._waiting = dict(self._kept), list[tuple[float, dict[str, Any]]]()

    @property
    def sent_bytes(self) -> int:
        """How much of the log the tracker has for good."""
        return self._kept["bytes"]

    def send(self, log: pathlib.Path) -> None:
        """Sends the complete lines of `log` that the tracker does not have."""
        with log.open("rb") as file:
            file.seek(self._sent["bytes"])
            lines = file.read().splitlines(keepends=True)
        for line in lines:
            if not line.endswith(b"\n"):
                return
            metrics = json.loads(line)
            step = metrics.pop("step")
            if not self._try(functools.partial(_log, step=step, metrics=metrics)):
                return
            self._note(bytes=self._sent["bytes"] + len(line))

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Sends a grid of samples, unless it was sent before the run resumed."""
        if step > self._sent["image_step"] and self._try(lambda tracker: tracker.image(step, name, image)):
            self._note(image_step=step)

    def sync(self) -> None:
        """Waits until the tracker has for good what it was sent; needed before a checkpoint."""
        if self._settles is None:
            self.close()
        elif self._waiting:
            time.sleep(max(0.0, self._waiting[-1][0] + self._settles - time.monotonic()))
            self._settle()

    def close(self) -> None:
        """Ends the run there, if it was opened."""
        if self._tracker is not None and self._try(lambda tracker: tracker.close()):
            self._settle(closed=True)
        self._tracker = None

    def _try(self, call: Callable[[Tracker], object]) -> bool:
        """Whether the tracker took it; the first of several failures in a row is logged."""
        try:
            if self._tracker is None:
                self._write()  # the id, before anything has it
                self._tracker = self._open(self._kept["run"], self._workdir, self._config)
            call(self._tracker)
        except Exception as error:
            if not self._failed:
                message = "--tracker=%s failed (%s); training goes on, and what is missing is sent later"
                logging.warning(message, self.name, first_line(error))
            self._failed = True
            return False
        self._failed = False
        return True

    def _note(self, **changed: int) -> None:
        """Notes what the tracker was sent."""
        self._sent |= changed
        self._waiting.append((time.monotonic(), dict(self._sent)))
        self._settle()

    def _settle(self, closed: bool = False) -> None:
        """Keeps what the tracker has for good: all, once it is closed."""
        delay = 0.0 if closed else math.inf if self._settles is None else self._settles
        settled = [sent for when, sent in self._waiting if when + delay <= time.monotonic()]
        if settled:
            self._kept, self._waiting = settled[-1], self._waiting[len(settled) :]
            self._write()

    def _write(self) -> None:
        path = self._workdir / STATE
        write_json(path, (read_json(path) if path.exists() else {}) | {self.name: self._kept})


def _log(tracker: Tracker, step: int, metrics: Mapping[str, float]) -> None:
    tracker.log(step, metrics)

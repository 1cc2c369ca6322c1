"""What a tracker is sent: every line of the log of metrics once, also where a run is killed and resumed."""

import functools
import json
import logging
import pathlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core.files import read_json, write_json
from training.trackers import Tracker, find

STATE = "tracker.json"  # in the workdir: of each tracker the id of the run, and how much of the log it has


class Tracking:
    """A tracker of a run, opened when there is something to send.

    A tracker cannot take back what it has: a run that resumes keeps those lines of the log that were sent, see
    `MetricsLog`. What fails is logged and sent later: a tracker never ends a run. Errors: ValueError for a tracker that
    does not exist or is not installed.
    """

    def __init__(self, name: str, workdir: pathlib.Path, config: Mapping[str, Any]):
        self.name, self._workdir, self._config = name, workdir, config
        self._open, self._failed = find(name), False
        self._tracker: Tracker | None = None
        self._state: dict[str, Any] = {"run": uuid.uuid4().hex[:12], "bytes": 0, "image_step": 0}
        path = workdir / STATE
        self._state |= read_json(path).get(name, {}) if path.exists() else {}

    @property
    def sent_bytes(self) -> int:
        """How much of the log the tracker has."""
        return self._state["bytes"]

    def send(self, log: pathlib.Path) -> None:
        """Sends the complete lines of `log` that the tracker does not have."""
        with log.open("rb") as file:
            file.seek(self.sent_bytes)
            lines = file.read().splitlines(keepends=True)
        for line in lines:
            if not line.endswith(b"\n"):
                return
            metrics = json.loads(line)
            step = metrics.pop("step")
            if not self._try(functools.partial(_log, step=step, metrics=metrics)):
                return
            self._note(bytes=self.sent_bytes + len(line))

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Sends a grid of samples, unless it was sent before the run resumed."""
        if step > self._state["image_step"] and self._try(lambda tracker: tracker.image(step, name, image)):
            self._note(image_step=step)

    def close(self) -> None:
        """Ends the run there, if it was opened."""
        if self._tracker is not None:
            self._try(lambda tracker: tracker.close())
            self._tracker = None

    def _try(self, call: Callable[[Tracker], object]) -> bool:
        """Whether the tracker took it; the first of several failures in a row is logged."""
        try:
            if self._tracker is None:
                self._note()  # the id, before anything has it
                self._tracker = self._open(self._state["run"], self._workdir, self._config)
            call(self._tracker)
        except Exception as error:
            if not self._failed:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                message = "--tracker=%s failed (%s); training goes on, and what is missing is sent later"
                logging.warning(message, self.name, reason)
            self._failed = True
            return False
        self._failed = False
        return True

    def _note(self, **changed: int) -> None:
        """Keeps what the tracker has."""
        self._state |= changed
        path = self._workdir / STATE
        write_json(path, (read_json(path) if path.exists() else {}) | {self.name: self._state})


def _log(tracker: Tracker, step: int, metrics: Mapping[str, float]) -> None:
    tracker.log(step, metrics)

"""A trace of some training steps, for TensorBoard's profiler and xprof."""

import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import jax

FOLDER = "profile"  # in the workdir; what `tensorboard --logdir` and `xprof --logdir` read


class Profile:
    """Traces the steps `first` to `last` of `steps` = (first, last), counted from 1; none where `steps` is empty.

    A dispatch of several steps is traced as a whole, and a run that starts later traces what is left of them.
    """

    def __init__(self, workdir: pathlib.Path, steps: Sequence[int] = ()):
        self._folder, self._steps, self._running = workdir / FOLDER, tuple(steps), False

    def before(self, step: int) -> None:
        """Starts the trace, if the dispatch after `step` steps begins it."""
        if self._steps and not self._running and self._steps[0] - 1 <= step < self._steps[1]:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, metrics: Any) -> None:
        """Ends the trace after its last step, once `metrics` are computed."""
        if self._running and step >= self._steps[1]:
            jax.block_until_ready(metrics)
            self.close()

    def close(self) -> None:
        """Writes the trace, if one is running."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
            logging.info("a trace of the steps %d to %d -> %s", *self._steps, self._folder)

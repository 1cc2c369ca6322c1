"""The batches of a run on its devices, the next one of them put there while the devices work."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from core.errors import RunError
from training.objectives.score_matching import Batch

Put = Callable[[dict[str, np.ndarray], bool], Batch]  # (batch of the host, whether it has an axis of steps) -> arrays


class DataError(RunError):
    """A batch cannot be read."""


class _Ready(NamedTuple):
    """The batches of `num` steps from `step` on, or why they cannot be read."""

    step: int
    num: int
    batch: Batch | None
    error: DataError | None


class Feed:
    """Takes batches from an iterator of the host, in order, and puts them on the devices.

    `ahead` is called once a step is dispatched, which does not wait for the devices: the next batch is read and moved
    meanwhile, and is there when the step has ended. One batch at most is ahead; a batch that cannot be read is told
    when it is taken, not before.
    """

    def __init__(self, batches: Iterator[dict[str, np.ndarray]], put: Put):
        self._batches, self._put = batches, put
        self._ready: _Ready | None = None

    def take(self, step: int, num: int) -> Batch:
        """The batches of `num` steps from `step` = 0, 1, ... on; with several, stacked. Errors: DataError."""
        ready, self._ready = self._ready, None
        if ready is None:
            ready = self._read(step, num)
        if (ready.step, ready.num) != (step, num):
            raise AssertionError(f"{ready.num} batches from step {ready.step} are ahead, not {num} from {step}.")
        if ready.error is not None:
            raise ready.error
        assert ready.batch is not None
        return ready.batch

    def ahead(self, step: int, num: int) -> None:
        """Reads what `take` will be asked for next."""
        self._ready = self._read(step, num)

    def _read(self, step: int, num: int) -> _Ready:
        found: list[dict[str, Any]] = []
        try:
            for _ in range(num):
                found.append(next(self._batches))
        except (OSError, ValueError, RuntimeError, LookupError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            unreadable = DataError(
                f"The training data of step {step + len(found) + 1} cannot be read ({reason}); bring them back to "
                "config.data.data_dir and start the same command again."
            )
            unreadable.__cause__ = error
            return _Ready(step, num, None, unreadable)
        stacked = num > 1
        batch = jax.tree.map(lambda *a: np.stack(a), *found) if stacked else found[0]
        return _Ready(step, num, self._put(batch, stacked), None)

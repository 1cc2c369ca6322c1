"""Batches on the devices: the next one is read and copied while the devices are busy with the current one."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from core.errors import ExitCode, RunError
from core.text import first_line

Batch = dict[str, Any]
# (batch on the host, whether it has a leading axis of steps) -> batch on the devices
ShardBatch = Callable[[dict[str, np.ndarray], bool], Batch]


WORKER_GONE = "Worker process was terminated unexpectedly with exit code"  # what Grain says
READ_ERRORS = (OSError, ValueError, RuntimeError, LookupError)  # what reading data may raise


class DataError(RunError):
    """A batch cannot be read."""


class WorkerGoneError(DataError):
    """A process that reads data was killed; the data are as they were."""

    exit_code = ExitCode.PEER_GONE


def unreadable(what: str, error: Exception) -> DataError:
    """The error for data, such as the "test data of step 7", that cannot be read because of `error`."""
    reason = first_line(error)
    found: DataError
    if WORKER_GONE in reason:
        code = reason.split(WORKER_GONE)[1].strip().partition(".")[0]
        found = WorkerGoneError(
            f"A data worker, a process of its own, was killed while it read the {what} (exit code {code}); start the "
            "same command again, with a lower config.data.num_workers if it had too little memory."
        )
    else:
        found = DataError(
            f"The {what} cannot be read ({reason}); restore them in config.data.data_dir and start the same command "
            "again."
        )
    found.__cause__ = error
    return found


class _Prefetched(NamedTuple):
    """The batches of `num` steps from `step` on, or why they cannot be read."""

    step: int
    num: int
    batch: Batch | None
    error: DataError | None


class Prefetcher:
    """Takes batches from an iterator on the host, in order, and moves them to the devices.

    Call `prefetch` once a step has been dispatched, which does not wait for the devices: the next batch is then read
    and copied in the meantime. At most one batch is prefetched. A batch that cannot be read raises its error when it is
    taken, not before, so that the steps ahead of it are completed.
    """

    def __init__(self, batches: Iterator[dict[str, np.ndarray]], shard_batch: ShardBatch):
        self._batches, self._shard_batch = batches, shard_batch
        self._prefetched: _Prefetched | None = None

    def take(self, step: int, num: int) -> Batch:
        """The batches of `num` steps from `step` = 0, 1, ... on, stacked if there are several. Errors: DataError."""
        found, self._prefetched = self._prefetched, None
        if found is None:
            found = self._read(step, num)
        if (found.step, found.num) != (step, num):
            raise AssertionError(f"{found.num} batches from step {found.step} were prefetched, not {num} from {step}.")
        if found.error is not None:
            raise found.error
        assert found.batch is not None
        return found.batch

    def prefetch(self, step: int, num: int) -> None:
        """Reads the batches that the next `take` will request."""
        self._prefetched = self._read(step, num)

    def _read(self, step: int, num: int) -> _Prefetched:
        batches: list[dict[str, np.ndarray]] = []
        try:
            for _ in range(num):
                batches.append(next(self._batches))
        except READ_ERRORS as error:
            return _Prefetched(step, num, None, unreadable(f"training data of step {step + len(batches) + 1}", error))
        stacked = num > 1
        batch = jax.tree.map(lambda *a: np.stack(a), *batches) if stacked else batches[0]
        return _Prefetched(step, num, self._shard_batch(batch, stacked), None)

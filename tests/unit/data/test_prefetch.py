"""Batches that are read ahead."""

import numpy as np
import pytest

from core.errors import ExitCode
from data.prefetch import DataError, Prefetcher


def test_batches_come_in_order_whether_they_were_prefetched_or_not():
    batches = Prefetcher(({"x": np.full(2, k)} for k in range(9)), lambda batch, stacked: {**batch, "stacked": stacked})
    assert batches.take(0, 1)["x"][0] == 0
    batches.prefetch(1, 3)
    found = batches.take(1, 3)
    assert found["stacked"] and found["x"].shape == (3, 2) and found["x"][:, 0].tolist() == [1, 2, 3]
    assert batches.take(4, 1)["x"][0] == 4 and not batches.take(5, 1)["stacked"]


def test_a_prefetched_batch_that_cannot_be_read_raises_when_it_is_taken():
    def unreadable():
        yield {"x": np.zeros(2)}
        raise OSError("the disk is gone")

    batches = Prefetcher(unreadable(), lambda batch, stacked: batch)
    batches.take(0, 1)
    batches.prefetch(1, 1)
    with pytest.raises(
        DataError, match=r"^The training data of step 2 cannot be read \(the disk is gone\); restore them"
    ):
        batches.take(1, 1)


def test_a_data_worker_that_was_killed_is_called_that_and_restarted_by_supervisors():
    def killed():
        yield {"x": np.zeros(2)}
        raise RuntimeError(
            "Worker process was terminated unexpectedly with exit code -9. Search the logs above for the source."
        )

    batches = Prefetcher(killed(), lambda batch, stacked: batch)
    batches.take(0, 1)
    message = r"^A data worker, .*, was killed while it read the training data of step 2 \(exit code -9\); start .*\.$"
    with pytest.raises(DataError, match=message) as error:
        batches.take(1, 1)
    assert error.value.exit_code == ExitCode.PEER_GONE

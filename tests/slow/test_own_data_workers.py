"""Data given by a path, read by worker processes, and what becomes of these when one of them or the trainer dies."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time

import absl.flags
import numpy as np
import pytest

from benchmarks.kill import content, data_workers
from core.errors import ExitCode
from data.pipeline import train_batches
from data.source import from_arrays
from tests.support.own_data import PIXELS, batches_of, forms, save
from tests.support.paths import ROOT


def test_worker_processes_and_threads_give_the_same_batches(tmp_path):
    for i, pixels in enumerate(PIXELS):
        save(tmp_path / "own" / ("ant", "bee", "cow")[i // 4] / f"{i:02d}.png", pixels)
    absl.flags.FLAGS.mark_as_parsed()  # grain's processes read absl's flags
    for open_source in forms(tmp_path, tmp_path / "own").values():
        expected = batches_of(open_source(), 3)
        for options in ({"num_workers": 2}, {"num_threads": 3}):
            for ours, one in zip(batches_of(open_source(), 3, **options), expected, strict=True):
                for name in one:
                    np.testing.assert_array_equal(ours[name], one[name])


READER = """
import time

import absl.flags
import numpy as np

from core.errors import RunError
from data.pipeline import train_batches
from data.prefetch import Prefetcher
from data.source import from_arrays


def main():
    absl.flags.FLAGS.mark_as_parsed()
    source = from_arrays("toy", np.zeros((64, 2), np.float32), np.zeros(64, np.int64), num_levels=0, num_classes=1)
    with train_batches(source, seed=0, batch_size=4, num_workers=2) as batches:
        reader = Prefetcher(batches, lambda batch, stacked: batch)
        for step in range(10**9):
            try:
                reader.take(step, 1)
            except RunError as error:
                print(int(error.exit_code), error, flush=True)
                break
            if step == 8:
                print("reading", flush=True)
            time.sleep(0.01)


if __name__ == "__main__":
    main()
"""


def is_alive(number):
    return content(f"/proc/{number}/stat").rpartition(b")")[2].split()[:1] not in ([], [b"Z"])


@pytest.fixture
def reader(tmp_path):
    (tmp_path / "reader.py").write_text(READER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "reader.py")], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "reading\n"
    yield process
    process.kill()
    process.communicate()


def test_data_workers_end_when_their_trainer_is_killed(reader):
    workers = data_workers(reader.pid)
    assert len(workers) == 2 and all(map(is_alive, workers))
    reader.kill()
    reader.wait()
    deadline = time.monotonic() + 60
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))


def test_a_data_worker_that_is_killed_is_called_that(reader):
    os.kill(data_workers(reader.pid)[0], signal.SIGKILL)
    said, errors = reader.communicate(timeout=120)
    assert said.startswith(f"{ExitCode.PEER_GONE:d} A data worker, a process of its own, was killed while it read")
    assert "exit code -9" in said and "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_left_to_the_trainer(reader, number):
    """A terminal and Slurm send them to all processes of a group."""
    for worker in data_workers(reader.pid):
        os.kill(worker, number)
    time.sleep(1)
    assert all(map(is_alive, data_workers(reader.pid))) and len(data_workers(reader.pid)) == 2 and reader.poll() is None


def test_a_worker_that_is_killed_before_it_has_read_what_it_does_is_noticed():
    """What it does is more than a pipe holds: who started it would wait for ever until it is read."""
    absl.flags.FLAGS.mark_as_parsed()
    values = np.zeros((1000, 200), np.float32)
    source = from_arrays("large", values, np.zeros(1000, np.int64), num_levels=0, num_classes=1)
    before, found = set(data_workers(os.getpid())), queue.Queue()

    def read():
        with train_batches(source, seed=0, batch_size=8, num_workers=1) as batches:
            try:
                next(batches)
            except RuntimeError as error:
                found.put(str(error))

    threading.Thread(target=read, daemon=True).start()
    end = time.monotonic() + 60
    while not (new := set(data_workers(os.getpid())) - before) and time.monotonic() < end:
        time.sleep(0.001)
    os.kill(new.pop(), signal.SIGKILL)
    assert "exit code -9" in found.get(timeout=60)

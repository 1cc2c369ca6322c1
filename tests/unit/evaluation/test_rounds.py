"""An evaluation that is killed, damaged or shared gives the files of one that ran undisturbed."""

import concurrent.futures
import logging
import os
import threading

import numpy as np
import pytest

from core.files import write_atomically
from evaluation.rounds import Rounds, Task, Worker, is_done, round_path, run_task


class KilledError(Exception):
    """Stands for the end of a worker."""


def make_task(computed, killed_at=None, num_rounds=5):
    """A task that notes in `computed` which rounds it runs, and dies in round `killed_at`."""

    def run(round_number):
        if round_number == killed_at:
            raise KilledError
        computed.append(round_number)
        return {"value": np.arange(3) + 10.0 * round_number, "round": np.int64(round_number)}

    def summarize(rounds):
        assert [int(arrays["round"]) for arrays in rounds] == list(range(num_rounds))
        return {"total": float(sum(arrays["value"].sum() for arrays in rounds))}

    return Task("toy", num_rounds, run, summarize)


def contents(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def undisturbed(tmp_path):
    summary = run_task(make_task([]), tmp_path / "undisturbed")
    return summary, contents(tmp_path / "undisturbed")


def test_each_round_is_one_file(undisturbed):
    summary, files = undisturbed
    assert sorted(files) == [f"toy/round_0000{i}.npz" for i in range(5)]
    assert summary == {"total": float(sum(3 * 10 * i + 3 for i in range(5)))}


def test_a_killed_evaluation_computes_only_what_is_missing(tmp_path, undisturbed):
    computed = []
    with pytest.raises(KilledError):
        run_task(make_task(computed, killed_at=3), tmp_path / "killed")
    assert computed == [0, 1, 2]
    summary = run_task(make_task(computed), tmp_path / "killed")
    assert computed == [0, 1, 2, 3, 4]
    assert (summary, contents(tmp_path / "killed")) == undisturbed
    assert run_task(make_task(computed), tmp_path / "killed") == summary and len(computed) == 5


def test_a_worker_does_its_own_rounds_and_helps_with_those_of_one_that_was_killed(tmp_path, undisturbed):
    first, second = [], []
    with pytest.raises(KilledError):
        run_task(make_task(first, killed_at=3), tmp_path / "shared", Worker(1, 2))
    summary = run_task(make_task(second), tmp_path / "shared", Worker(0, 2))
    assert (first, second) == ([1], [0, 2, 4, 3])
    assert (summary, contents(tmp_path / "shared")) == undisturbed


@pytest.mark.parametrize(("count", "num_rounds"), [(1, 5), (2, 5), (3, 7), (4, 2)])
def test_every_worker_comes_to_every_round_once(count, num_rounds):
    own = []
    for index in range(count):
        order = Worker(index, count).order(num_rounds)
        assert sorted(order) == list(range(num_rounds))
        own += order[: len(range(index, num_rounds, count))]
    assert sorted(own) == list(range(num_rounds))  # divided among them


def damage(path, kind):
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[content.index(b"\x93NUMPY") + 130] ^= 4  # in the numbers themselves
    damaged = {
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "last byte": content[:-1],
        "another format": b"not an archive",
        "one bit": bytes(flipped),
    }
    path.write_bytes(damaged[kind])


@pytest.mark.parametrize("kind", ["empty", "truncated", "last byte", "another format", "one bit"])
def test_a_damaged_file_is_reported_and_computed_again(tmp_path, undisturbed, kind, caplog):
    computed = []
    run_task(make_task(computed), tmp_path / "damaged")
    damage(tmp_path / "damaged" / "toy" / "round_00002.npz", kind)
    with caplog.at_level(logging.WARNING):
        summary = run_task(make_task(computed), tmp_path / "damaged")
    assert computed == [0, 1, 2, 3, 4, 2]
    assert "round_00002.npz cannot be read" in caplog.text and "is computed again" in caplog.text
    assert (summary, contents(tmp_path / "damaged")) == undisturbed


def test_a_file_with_pickled_objects_is_not_executed(tmp_path):
    task = make_task([])
    path = round_path(task, tmp_path, 0)
    path.parent.mkdir(parents=True)
    np.savez(path, value=np.array([{"an": "object"}], dtype=object))
    assert not is_done(path)


def test_temporary_files_of_killed_workers_are_harmless_and_removed(tmp_path, undisturbed):
    folder = tmp_path / "left" / "toy"
    folder.mkdir(parents=True)
    (folder / ".round_00001.npz.0123.tmp").write_bytes(b"half a file")
    assert (run_task(make_task([]), tmp_path / "left"), contents(tmp_path / "left")) == undisturbed


def test_a_worker_whose_temporary_file_was_swept_up_accepts_the_finished_round(tmp_path, monkeypatch, undisturbed):
    """Another worker finishes this very round and all others, then sweeps, just before our rename."""
    computed, replace, once = [], os.replace, []

    def swept(source, target):
        if not once:
            once.append(True)
            run_task(make_task([]), tmp_path / "swept")
        replace(source, target)

    monkeypatch.setattr(os, "replace", swept)
    summary = run_task(make_task(computed), tmp_path / "swept")
    assert once and computed == [0]
    assert (summary, contents(tmp_path / "swept")) == undisturbed


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"new")
        raise KilledError

    with pytest.raises(KilledError):
        write_atomically(path, fail)
    assert contents(tmp_path) == {"file": b"old"}


def test_finished_rounds_are_read_one_at_a_time(tmp_path):
    task = make_task([])
    run_task(task, tmp_path)
    rounds = Rounds(task, tmp_path)
    assert len(rounds) == 5 and int(rounds[-1]["round"]) == 4
    assert [int(arrays["round"]) for arrays in rounds[1:3]] == [1, 2]
    round_path(task, tmp_path, 3).unlink()
    assert int(next(iter(rounds))["round"]) == 0


def test_workers_that_end_at_the_same_time_do_not_remove_what_another_is_writing(tmp_path, undisturbed):
    """Each may compute the last round once more, while those that are done sweep the folder."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for attempt in range(20):
            together = threading.Barrier(8)

            def work(index, folder=tmp_path / str(attempt), together=together):
                together.wait()
                return run_task(make_task([]), folder, Worker(index, 8))

            assert [*pool.map(work, range(8))] == [undisturbed[0]] * 8
            assert contents(tmp_path / str(attempt)) == undisturbed[1]

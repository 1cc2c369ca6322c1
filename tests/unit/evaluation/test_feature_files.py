"""Features stay on disk: whole, each image once, and never all of them in memory."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from evaluation.features.files import Rows, content_hash, gather, spool
from evaluation.metrics import moments, table
from evaluation.metrics.reference import statistics
from evaluation.rounds import Worker, round_path
from evaluation.tasks.features import features_task

NUM, WIDTH, ROUND = 1000, 6, 64


def features_of(turn, size=ROUND, num=NUM, width=WIDTH):
    rows = np.arange(turn * size, min(num, (turn + 1) * size))
    drawn = np.random.default_rng(turn).standard_normal((len(rows), width), np.float32)
    return {"features": drawn, "logits": drawn[:, :2], "index": rows}


def task_of(extract=features_of, num=NUM):
    return features_task("features", num, -(-NUM // ROUND), extract)


@pytest.fixture
def gathered(tmp_path):
    return gather(task_of(), tmp_path, Worker())


def test_features_of_all_rounds_are_arrays_on_disk_in_order(tmp_path, gathered):
    parts = [features_of(turn) for turn in range(16)]
    assert gathered.keys() == {"features", "logits"} and isinstance(gathered["features"], np.memmap)
    for name, array in gathered.items():
        np.testing.assert_array_equal(array, np.concatenate([part[name] for part in parts]))
        np.testing.assert_array_equal(array, np.load(tmp_path / "features" / f"{name}.npy"))


@pytest.mark.parametrize("kind", ["half", "empty", "header", "of fewer"])
def test_a_half_written_file_of_features_is_never_read(tmp_path, gathered, kind):
    path = tmp_path / "features" / "features.npy"
    whole = path.read_bytes()
    expected = np.array(gathered["features"])
    path.unlink()  # the mapping keeps the old one
    if kind == "of fewer":
        np.save(path, expected[:-1])
    else:
        path.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "header": whole[:60]}[kind])
    np.testing.assert_array_equal(gather(task_of(), tmp_path, Worker())["features"], expected)
    assert path.read_bytes() == whole


def test_a_half_written_round_of_features_is_never_read(tmp_path, gathered):
    path = round_path(task_of(), tmp_path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    again = gather(task_of(), tmp_path, Worker())
    np.testing.assert_array_equal(again["features"], gathered["features"])
    assert path.read_bytes() == whole


def test_an_image_that_is_missing_or_comes_twice_is_refused(tmp_path):
    def overlapping(turn):
        part = features_of(turn)
        return part | {"index": part["index"] - (3 if turn else 0)}

    with pytest.raises(ValueError, match="the rounds of features hold 1000 entries that are not 0 ... 999 in order"):
        gather(task_of(overlapping), tmp_path / "twice", Worker())
    with pytest.raises(ValueError, match="hold 1000 entries that are not 0 ... 1002"):
        gather(task_of(num=1003), tmp_path / "missing", Worker())


def test_spooled_features_are_those_of_all_batches(tmp_path):
    found = spool((features_of(turn) for turn in range(16)), tmp_path)
    assert found.keys() == {"features", "logits"}
    for name, array in found.items():
        np.testing.assert_array_equal(array, np.concatenate([features_of(turn)[name] for turn in range(16)]))


def numbers(figures):
    """Results without their warnings, which have another wording for halves."""
    return {name: dataclasses.replace(figure, warning="", remedy="") for name, figure in figures.items()}


def test_rows_of_an_array_on_disk_are_measured_as_the_array_is(gathered):
    """The floor of features on disk is, to the last bit, that of halves in memory."""
    whole = {name: np.array(array) for name, array in gathered.items()}
    first, second = table.split_halves(NUM, seed=3)
    halves = [{name: array[rows] for name, array in whole.items()} for rows in (first, second)]
    names = [name for name in table.METRICS if name != "kid" and table.beyond_samples(name) is None]
    expected = table.measure(*halves, names=names, seed=3)
    found = table.baseline(gathered, names=names, seed=3)
    assert list(found) == names and numbers(found) == numbers(expected)
    rows = Rows(whole["features"], second)
    assert len(rows) == 500 and rows.shape == (500, WIDTH) and rows.dtype == np.float32
    np.testing.assert_array_equal(rows[7:9], whole["features"][second[7:9]])


def test_the_hash_is_of_content_not_of_where_it_lies(gathered):
    whole = {name: np.array(array) for name, array in gathered.items()}
    assert content_hash(gathered) == content_hash(whole) == content_hash(dict(reversed(whole.items())))
    whole["logits"][-1, 0] += 1e-3
    assert content_hash(whole) != content_hash(gathered)
    assert content_hash({"a": np.zeros((2, 3))}) != content_hash({"a": np.zeros((3, 2))})


def test_features_of_many_images_are_never_held_all_together(tmp_path):
    """Statistics, FID with its error, and the floor, as an evaluation computes them."""
    num, width, size = 40_000, 64, 1000
    task = features_task("features", num, num // size, lambda turn: features_of(turn, size, num, width))
    all_bytes = 4 * num * width  # in single precision
    tracemalloc.start()
    try:
        found = gather(task, tmp_path, Worker())
        real = {"features": found["features"]}
        table.measure(real, reference=statistics(moments.of(real["features"])), names=["fid"])
        table.baseline(real, names=["fid"])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 3.6 MB of 10.2 were measured: blocks of 256 rows for each of ten groups, and 4,096 rows in double precision.
    assert peak_bytes < all_bytes / 2

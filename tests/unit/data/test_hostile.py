"""Hostile data sets, of all kinds that `benchmarks/hostile` makes: each is one sentence that names the file."""

import random
import resource
import time

import pytest

from benchmarks.hostile import arrays, tables, zips
from benchmarks.hostile.table import KINDS
from data import stock
from data.readers.series import read_series
from data.source import Reading
from tests.support.own_data import everything, opened

FORMS = ("npy", "npz", "zip", "folder", "wds", "hf", "cifar10", "encoded")
SECONDS, MEMORY = 10.0, 2**30 // 1024  # that reading may take; KiB, as the system counts what a process held at most
OPENED = [name for name, kind in KINDS.items() if kind.use in (*FORMS, "tfrecords")]


def read(kind, path):
    if kind.use == "tfrecords":
        return [everything(stock.load("FFHQ", "train", str(path), 8))]
    return [everything(opened(f"{kind.use}:{path}", split)) for split in ("train", "test")]


@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Palette images", "ignore:Corrupt EXIF")
@pytest.mark.parametrize("name", OPENED)
def test_a_hostile_data_set_is_read_within_bounds_or_refused_in_one_sentence_that_names_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where what is executed would leave a file
    kind, path = KINDS[name], tmp_path / "given" / KINDS[name].file
    path.parent.mkdir()
    kind.make(path, random.Random(name))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        read(kind, path)
    except (ValueError, FileNotFoundError) as error:
        message = str(error)
        assert kind.file in message and "\n" not in message and len(message) < 1500
    else:
        assert kind.may_be_read
    assert time.process_time() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY
    assert [found.name for found in tmp_path.iterdir()] == ["given"]
    assert not {found.name for found in path.parent.iterdir()} - {kind.file}


SERIES = {
    "bomb.npz": zips.zero_bomb("x.npy", 5 * 2**30),
    "text.npz": zips.zipped({"x.npy": b"words"}),
    "nested.jsonl": arrays.content(b'{"target": ' + arrays.DEEP.encode() + b"}"),
    "digits.jsonl": arrays.content(b'{"target": [' + b"9" * 10_000 + b"]}"),
    "bytes.jsonl": arrays.content(b"\xff\xfe"),
    "cell.csv": arrays.content(b"time,a\n2020," + b"x" * 2**20 + b"\n"),
    "cut.parquet": tables.shortened,
    "bomb.parquet": tables.repeated_numbers,
}


@pytest.mark.parametrize("name", SERIES)
def test_a_hostile_file_of_series_is_one_sentence_that_names_it(name, tmp_path):
    SERIES[name](tmp_path / name, random.Random(0))
    with pytest.raises(ValueError, match=f"^(item 0 of )?{tmp_path}/{name}") as error:
        read_series(tmp_path / name)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1500


@pytest.mark.parametrize("damage", ["emptied", "cut off", "zeros"])
def test_a_cache_that_is_damaged_is_written_again(damage, tmp_path, caplog):
    source = KINDS["folder: a socket"].make  # eight good images, and what is left out
    source(tmp_path / "images", random.Random(0))
    reading = Reading(cache_dir=str(tmp_path / "cache"))
    whole = everything(stock.load(f"folder:{tmp_path}/images", "train", reading=reading))
    (file,) = (tmp_path / "cache").glob("*-train-*")
    content = file.read_bytes()
    changed = {"emptied": b"", "cut off": content[: len(content) // 2], "zeros": bytes(len(content))}
    file.write_bytes(changed[damage])
    again = everything(stock.load(f"folder:{tmp_path}/images", "train", reading=reading))
    assert (again["x"] == whole["x"]).all() and file.stat().st_size == len(content)
    assert f"{file} is damaged" in caplog.text and "is written again" in caplog.text

"""Archives of unknown origin: what they unpack to is bounded, and whatever is wrong with them is one error."""

import gzip
import io
import random
import tarfile
import tracemalloc
import zipfile

import pytest

import core.memory
from benchmarks.hostile import tars, zips
from core import reading
from core.reading import MODEST, UnreadableError
from tests.support.paths import ROOT


def made(make, path):
    make(path, random.Random(0))
    return path


def test_members_are_what_was_written(tmp_path):
    path = made(zips.zipped({"a/b.txt": b"abc", "zeros": bytes(10**6)}, deflate=True), tmp_path / "a.zip")
    with reading.open_zip(path) as archive:
        assert reading.read_member(archive, "a/b.txt") == b"abc"
        assert reading.read_member(archive, "zeros") == bytes(10**6)
        stream, size = reading.open_member(archive, "zeros")
        with stream:
            assert size == 10**6 and stream.read(10) == bytes(10)
        with pytest.raises(UnreadableError, match="There is no item named 'other'"):
            reading.read_member(archive, "other")


REFUSED = {
    "unpacks to 5,368,709,120, more than 100 times as many": zips.zero_bomb("a", 5 * 2**30),
    "unpacks to 9,223,372,036,854,775,808, more": zips.zero_bomb("a", 2**20, said=2**63),
    "says that 2,097,152,000 are stored in it": zips.overlapping("", 500),
    "a in it is compressed by another method than deflate": zips.zipped({"a": bytes(9)}, method=zipfile.ZIP_LZMA),
    "'../a', a name that is none or leads outside": zips.zipped({"../a": b""}),
    "'/a', a name": zips.zipped({"/a": b""}),
    "is not a zip file": lambda path, rng: path.write_bytes(b"no archive"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_an_archive_that_cannot_be_bounded_is_refused_before_it_is_unpacked(tmp_path, message):
    with pytest.raises(UnreadableError, match=f".*{message}"):
        reading.open_zip(made(REFUSED[message], tmp_path / "a.zip"))


def test_no_more_is_unpacked_than_a_member_says_to_have(tmp_path):
    path = made(zips.zero_bomb("a", 2**30, said=1000), tmp_path / "a.zip")
    tracemalloc.start()
    with reading.open_zip(path) as archive, pytest.raises(UnreadableError, match="Bad CRC-32"):
        reading.read_member(archive, "a")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_zeros_of_a_modest_size_may_be_compressed_well(tmp_path):
    path = made(zips.zipped({"a": bytes(MODEST // 16)}, deflate=True), tmp_path / "a.zip")
    assert path.stat().st_size * 500 < MODEST // 16
    with reading.open_zip(path) as archive:
        assert len(reading.read_member(archive, "a")) == MODEST // 16


def test_what_does_not_fit_into_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(2**43)
    with pytest.raises(UnreadableError, match=r"it takes 8,192.0 GiB of memory, but .* GiB are free"):
        reading.read_bytes(path)
    limit = tmp_path / "memory.max"
    limit.write_text(f"{core.memory.resident_bytes() + MODEST}\n")
    monkeypatch.setattr(core.memory, "CGROUP", limit)
    reading.check_size(MODEST)
    with pytest.raises(UnreadableError, match="of memory"):
        reading.check_size(2 * MODEST)


def members(data, most=MODEST):
    return [member.name for member in reading.tar_members(io.BytesIO(data), most)]


def test_the_files_of_a_tar_archive_are_listed_without_links_and_devices():
    headers = [tars.info("link", kind=tarfile.SYMTYPE, link="gone"), tars.info("device", kind=tarfile.CHRTYPE)]
    data = tars.tarred({"a": b"abc", "b": b"", "c": bytes(5000)}, *headers)
    assert members(data) == ["a", "b", "c"]
    stream = io.BytesIO(data)
    first = next(reading.tar_members(stream, MODEST))
    assert reading.read_part(stream, first.offset_data, first.size) == b"abc"
    with pytest.raises(UnreadableError, match="a file in it has 3 bytes, more than 2"):
        reading.read_part(stream, first.offset_data, first.size, 2)
    with pytest.raises(UnreadableError, match="ends too early"):
        reading.read_part(stream, first.offset_data, 10**6)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_notes_of_a_tar_archive_are_read(form):
    buffer, name = io.BytesIO(), "x" * 200 + "/" + "y" * 200
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        archive.addfile(tars.info(name, 3), io.BytesIO(b"abc"))
    assert members(buffer.getvalue()) == [name]


CIRCLES = {
    "members overlap": tars.info("b", -512 * 2).tobuf(tarfile.GNU_FORMAT),  # to the content of a
    "its members overlap": tars.info("b", -512 * 3).tobuf(tarfile.GNU_FORMAT),  # to the beginning
    "number of hundreds of digits": tars.headed(tarfile.XHDTYPE, b"1" * 2**20),
    "ends too early": tars.headed(tarfile.XHDTYPE, b"10 size=1\n", 2**43),
}


@pytest.mark.parametrize("message", CIRCLES)
def test_a_tar_archive_that_leads_around_in_circles_is_refused(message):
    with pytest.raises(UnreadableError, match=message):
        members(tars.open_end(tars.tarred({"a": b"abc"})) + CIRCLES[message])


def test_a_tar_archive_unpacks_to_no_more_than_it_may(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(tars.tarred({"a": bytes(10**6), "b": b""})))
    with reading.unpacked(path) as stream:
        assert [member.name for member in reading.tar_members(stream, 2 * 10**6)] == ["a", "b"]
    with reading.unpacked(path) as stream, pytest.raises(UnreadableError, match="unpacks to more than 1,000 bytes"):
        list(reading.tar_members(stream, 1000))


OPENERS = ("np.load(", "NpzFile(", "zipfile.ZipFile(", "tarfile.open(", "gzip.open(", "GzipFile(", "read_array_header_")
GUARDED = {"core/reading.py", "core/array_files.py"}
WRITING = {"evaluation/sample_files.py": 'zipfile.ZipFile(file, "w")'}


def test_there_is_no_second_way_to_open_an_archive_or_an_array():
    rooms = [path.parent for path in ROOT.glob("[a-z]*/__init__.py") if path.parent.name not in ("tests", "benchmarks")]
    found = {}
    for path in (path for room in rooms for path in room.rglob("*.py")):
        name, text = path.relative_to(ROOT).as_posix(), path.read_text("utf-8")
        text = text.replace(WRITING.get(name, "\0"), "")
        if name not in GUARDED and (ways := [way for way in OPENERS if way in text]):
            found[name] = ways
    assert not found

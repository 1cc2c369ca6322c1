"""Array files: read exactly, or refused by their header before anything is allocated."""

import random

import numpy as np
import pytest

from benchmarks.hostile import arrays, zips
from core import array_files
from core.reading import UnreadableError

ARRAYS = {
    "floats": np.linspace(0, 1, 24).reshape(2, 3, 4),
    "in Fortran order": np.asfortranarray(np.arange(24, dtype=np.int16).reshape(4, 6)),
    "a scalar": np.array(7),
    "texts": np.array(["a", "bcd"]),
    "bytes": np.array([b"a", b"bcd"]),
    "dates": np.array(["2020-01-01"], "M8[D]"),
    "complex": np.zeros(3, np.complex64),
    "records": np.zeros(3, [("a", "<f4"), ("b", "<i8", (2,))]),
    "no values": np.zeros((0, 5)),
    "Booleans": np.array([[True], [False]]),
    "big-endian": np.arange(5, dtype=">u4"),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("mapped", [False, True])
def test_what_numpy_writes_is_what_is_read(tmp_path, name, mapped):
    path = tmp_path / "a.npy"
    np.save(path, ARRAYS[name])
    found = array_files.read_npy(path, mapped=mapped)
    np.testing.assert_array_equal(found, ARRAYS[name], strict=True)
    assert not array_files.is_npz(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_arrays_of_an_archive_are_what_numpy_writes(tmp_path, save):
    save(tmp_path / "a.npz", **{name.replace(" ", "_"): array for name, array in ARRAYS.items()})
    found = array_files.read_npz(tmp_path / "a.npz")
    assert array_files.is_npz(tmp_path / "a.npz") and len(found) == len(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name.replace(" ", "_")], array, strict=True)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_all_versions_of_headers_are_read(tmp_path, version):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, ARRAYS["floats"], version=version)
    np.testing.assert_array_equal(array_files.read_npy(tmp_path / "a.npy"), ARRAYS["floats"])


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("descr", "shape", "message"),
    [
        ("<f4", (2**40, 6), r"it has 24 bytes of values, but says float32 \(1099511627776, 6\)"),
        ("<f4", (2, 2), r"it has 24 bytes of values, but says float32 \(2, 2\)"),
        ("<f4", (-2, -3), r"its header says float32 \(-2, -3\)"),
        ("<f4", (2**40, 0), r"it has no values, but says \(1099511627776, 0\)"),
        ("<U0", (2**50,), "its header says <U0"),
        ("<U500000000", (1,), "its header says <U500000000"),
        ("|O", (3,), "Object arrays cannot be loaded"),
        ("T", (1,), "Object arrays cannot be loaded"),
        ([("a", "|O")], (3,), "Object arrays cannot be loaded"),
        ("(5,)<f4", (1,), "its header says"),
        ("no dtype", (1,), "its header cannot be read"),
        (["a"] * 500, (1,), "its header cannot be read"),
    ],
)
def test_a_header_that_is_not_of_its_file_is_refused(tmp_path, descr, shape, message, mapped):
    path = tmp_path / "a.npy"
    path.write_bytes(arrays.npy(descr, shape, bytes(24)))
    with pytest.raises(UnreadableError, match=message):
        array_files.read_npy(path, mapped=mapped)


def test_every_flipped_bit_of_an_archive_is_noticed_or_harmless(tmp_path):
    """The values of each member have a checksum, and its header says their number of bytes."""
    x, path = np.arange(12, dtype=np.float32).reshape(4, 3), tmp_path / "a.npz"
    whole = arrays.archive(x=x)
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(bytes(changed))
        try:
            found = array_files.read_npz(path)
        except UnreadableError:
            continue
        assert len(found) == 1
        np.testing.assert_array_equal(next(iter(found.values())), x, strict=True)


def test_a_member_that_is_no_array_is_named(tmp_path):
    zips.zipped({"x.npy": arrays.saved(np.zeros(3)), "notes.txt": b"words"})(tmp_path / "a.npz", random.Random(0))
    with pytest.raises(UnreadableError, match=r"notes.txt in it: it does not start as an array file does"):
        array_files.read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("order", "<>")
def test_texts_of_characters_that_do_not_exist_are_refused(order, tmp_path):
    """Python cannot make a text of them, and ends with a SystemError wherever one is looked at."""
    values = np.array([0x61, 0x10FFFF, 0x110000], f"{order}u4")
    for count, works in ((2, True), (3, False)):
        np.savez(tmp_path / "a.npz", x=values[:count].view(f"{order}U1"))
        if works:
            assert array_files.read_npz(tmp_path / "a.npz")["x"].tolist() == ["a", "\U0010ffff"]
            continue
        with pytest.raises(UnreadableError, match="x.npy in it: it has texts with characters that do not exist"):
            array_files.read_npz(tmp_path / "a.npz")

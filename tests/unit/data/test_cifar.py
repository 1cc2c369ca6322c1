"""CIFAR-10 from its own archive, in both formats; nothing in it is executed."""

import pathlib
import struct

import numpy as np
import pytest

from data.readers.cifar import CLASSES
from tests.support.own_data import CIFAR, archive, everything, opened


@pytest.mark.parametrize("form", ["archive", "folder"])
@pytest.mark.parametrize("kind", ["python", "binary"])
def test_cifar10_is_read_from_its_own_archive(tmp_path, kind, form):
    path = archive(tmp_path, kind, form)
    train, test = (opened(f"cifar10:{path}", split) for split in ("train", "test"))
    assert (train.shape, train.num_levels, train.class_names) == ((32, 32, 3), 256, CLASSES)
    np.testing.assert_array_equal(everything(train)["x"], CIFAR[:10])
    np.testing.assert_array_equal(everything(test)["x"], CIFAR[10:])
    assert everything(train)["label"].tolist() == list(range(10)) and everything(test)["label"].tolist() == [0, 1]


class Evil:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("executed"),)


def test_nothing_in_a_batch_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = archive(tmp_path, "python", "archive", evil=Evil())
    with pytest.raises(ValueError, match=r"data_batch_1 of .*tar.gz cannot be read \(it asks for .*, which is not exe"):
        opened(f"cifar10:{path}")
    assert not (tmp_path / "executed").exists()


def _program(dtype=("O8", 0, 1), raw=bytes(2 * 3072 * 8), labels=b"](K\x01K\x02e"):
    """A batch whose pixels are objects at the addresses in `raw`, though their type claims that they are none."""
    head = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    flags = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    numbers = b"cnumpy\ndtype\n" + text(dtype[0]) + b"K\x00K\x01\x87R(K\x03" + text("|") + flags
    content = b"\x89B" + struct.pack("<I", len(raw)) + raw + b"tb"
    pixels = head + b"(K\x01K\x02M\x00\x0c\x86" + numbers + content
    return b"\x80\x02}(C\x04data" + pixels + b"C\x06labels" + labels + b"u."


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _written(tmp_path, **forged):
    path = archive(tmp_path, "python", "folder")
    (path / "cifar-10-batches-py" / "data_batch_2").write_bytes(_program(**forged))
    return path


def test_the_program_that_is_forged_here_is_read_where_it_is_not(tmp_path):
    path = _written(tmp_path, dtype=("u1", 0, 1), raw=bytes(range(256)) * 24)
    found = everything(opened(f"cifar10:{path}"))
    assert found["label"].tolist()[2:4] == [1, 2] and found["x"][2, 0, 0, 0] == 0


@pytest.mark.parametrize(
    "forged",
    [
        {},
        {"dtype": ("O", 0, 1)},
        {"dtype": ("V8", 0, 1)},
        {"dtype": ("u1", 0, 1)},
        {"dtype": ("u1", 0, 1), "raw": bytes(6144), "labels": b"](K\x01K\x0be"},
        {"dtype": ("u1", 0, 1), "raw": bytes(6144), "labels": b"](N}e"},
        {"dtype": ("u1", 0, 1), "raw": bytes(6144), "labels": b"](K\x01]e"},
        {"dtype": ("u1", 0, 1), "raw": bytes(6144), "labels": b"](G" + bytes(8) + b"K\x01e"},
        {"dtype": ("u1", 0, 1), "raw": bytes(6144), "labels": text("12")},
    ],
    ids=str,
)
def test_a_forged_batch_is_refused_in_one_sentence(forged, tmp_path):
    """The first one made NumPy follow pointers of the file: a segmentation fault."""
    path = _written(tmp_path, **forged)
    with pytest.raises(ValueError, match="^data_batch_2 of") as caught:
        opened(f"cifar10:{path}")
    assert "\n" not in str(caught.value)


def test_keys_that_would_take_hours_to_hash_are_refused(tmp_path):
    path = archive(tmp_path, "python", "folder")
    key = b")" + b"".join(b"q" + bytes([k]) + b"h" + bytes([k]) + b"\x86" for k in range(34))
    (path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"\x80\x02}" + key + b"K\x01s.")
    with pytest.raises(ValueError, match="data_batch_1 of .* cannot be read .it has more than"):
        opened(f"cifar10:{path}")


def test_an_archive_without_a_batch_or_cut_off_is_named(tmp_path):
    path = archive(tmp_path, "python", "folder")
    (path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(ValueError, match=f"{path} has no data_batch_3; give CIFAR-10's own archive"):
        opened(f"cifar10:{path}")
    whole = archive(tmp_path, "binary", "archive")
    whole.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cifar-10-binary.tar.gz cannot be read as an archive"):
        opened(f"cifar10:{whole}")

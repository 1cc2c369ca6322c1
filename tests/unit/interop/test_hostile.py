"""Damaged, foreign and malicious files: each is refused with a clear error, and nothing in it is executed."""

import os
import pickle
import random
import resource
import struct
import zipfile

import msgpack
import numpy as np
import pytest

from benchmarks.hostile.table import KINDS
from interop.base import CheckpointFormatError, nest
from interop.load import load
from tests.support import torch_files
from tests.support.published import PAIR, golden_file
from tests.support.torch_files import Tensor

# Damaged and foreign files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIR)
def test_a_file_cut_off_anywhere_is_refused(name, refused):
    data = golden_file(name).read_bytes()
    for size in (0, 1, 4, 100, len(data) // 3, len(data) - 30, len(data) - 1):
        refused(data[:size])
    if name.startswith("jax"):  # a zip archive may be followed by a comment
        refused(data + b"\0")


@pytest.mark.parametrize("name", PAIR)
def test_changed_bytes_give_a_clear_error_or_just_other_numbers(name, network, tmp_path):
    rng, data = np.random.default_rng(0), golden_file(name).read_bytes()
    places = np.concatenate([rng.integers(0, len(data), 40), rng.integers(0, 3000, 20), len(data) - 1 - np.arange(20)])
    refusals = 0
    for place in places:
        changed = bytearray(data)
        changed[place] ^= int(rng.integers(1, 256))
        (tmp_path / "file").write_bytes(changed)
        try:
            load(tmp_path / "file", *network)
        except CheckpointFormatError:
            refusals += 1
    assert refusals > 10  # msgpack has no checksum, so a changed number is not noticed


FOREIGN = {
    "text": b"hello, this is not a checkpoint\n",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(100),
    "zeros": bytes(1000),
    "msgpack list": msgpack.packb([1, 2, 3]),
    "msgpack of other things": msgpack.packb({"a": 1}),
    "deeply nested": b"\x91" * 100_000,
    "msgpack with a hostile length": b"\xdd\xff\xff\xff\xff",
    "a huge array that is not there": msgpack.packb(
        {"step": msgpack.ExtType(1, msgpack.packb(((2**40,), "float32", b"")))}, use_bin_type=True
    ),
    "safetensors cut off": struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}     ',
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused(kind, refused):
    refused(FOREIGN[kind])


def test_archives_of_other_things_are_refused(refused):
    def archive(*entries, compression=zipfile.ZIP_STORED):
        def write(path):
            with zipfile.ZipFile(path, "w", compression) as file:
                for name in entries:
                    file.writestr(name, bytes(1000))

        return write

    assert "0 data.pkl" in refused(archive())
    assert "0 data.pkl" in refused(archive("word/document.xml"))
    assert "2 data.pkl" in refused(archive("a/data.pkl", "b/data.pkl"))
    assert "compressed" in refused(archive("a/data.pkl", compression=zipfile.ZIP_DEFLATED))
    assert "compressed" in refused(archive("a.npy", compression=zipfile.ZIP_DEFLATED))
    refused(archive("a/data.pkl"))
    refused(archive("a.npy"))


def test_a_folder_and_a_file_that_is_not_there_are_refused(network, tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(CheckpointFormatError, match="is not a file"):
            load(path, *network)


# Harm -------------------------------------------------------------------------------------------------------------


class Bomb:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def bombs(marker):
    """Pickles that would make a file when they are loaded, each by another way."""
    command = f"touch {marker}"
    text = f"X{struct.pack('<I', len(command)).decode('latin-1')}{command}".encode("latin-1")
    return {
        "reduce": pickle.dumps({"model": Bomb(command)}, protocol=2),
        "stack global": pickle.dumps(Bomb(command), protocol=4),
        "text protocol": pickle.dumps(Bomb(command), protocol=0),
        "instance": b"\x80\x02(" + text + b"iposix\nsystem\n.",
        "object": b"\x80\x02(cposix\nsystem\n" + text + b"o.",
        "new object": b"\x80\x02csubprocess\nPopen\n" + text + b"\x85\x81.",
        "eval": b"\x80\x02cbuiltins\neval\n" + text + b"\x85R.",
        "attribute": b"\x80\x02cinterop.torch_pickle\nos.system\n" + text + b"\x85R.",
        "state": b"\x80\x02ccollections\nOrderedDict\n}X\x05\x00\x00\x00_makecposix\nsystem\nsb.",
        "extension": b"\x80\x02\x82\x01.",
    }


@pytest.mark.parametrize("kind", bombs("marker"))
def test_a_pickle_bomb_is_refused_and_nothing_is_executed(kind, refused, tmp_path):
    marker = tmp_path / "marker"
    bomb = bombs(marker)[kind]
    message = refused(lambda path: torch_files.write_zip(path, bomb))
    assert "nothing in it was executed" in message
    refused(bomb)  # the bare pickle
    refused(lambda path: np.savez(path, a=np.array([Bomb(f"touch {marker}")], object)), "file.npz")
    assert not marker.exists()


def test_the_format_of_old_pytorch_is_refused_with_what_to_do(refused):
    data = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps({"model": 1}, protocol=2)
    assert "before 1.6" in refused(data) and "save it again" in refused(data)
    assert "is a pickle" in refused(pickle.dumps({"model": 1}, protocol=2))


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02r\xff\xff\xff\x7f.",  # a memo of 16 GB
        b"\x80\x02}r\xff\xff\xff\x7f.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.",  # a bytearray of a terabyte
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"\x80\x02}.}.",
        b"\x80\x02.",
        b"\x80\x02h\x05.",
        b"\x80\x02(((.",
        b"\x80\x02ccollections\nOrderedDict\n(K\x01K\x02tR.",
        b"\x80\x02ctorch\nFloatStorage\n)R.",
        b"\x80\x02ctorch\nFloatStorage\n}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R.",
        b"\x80\x02K\x01Q.",
        b"\x80\x02" + b"(" * 100_000 + b"l" * 10 + b".",
        b"\x80\x02" + b"]" + b"\x85" * 200_000 + b".",
    ],
)
def test_a_hostile_pickle_is_refused_without_much_memory(program, refused):
    refused(lambda path: torch_files.write_zip(path, program))


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (5,), (1,)), (3, (2,), (1,)), (0, (2, 2), (1, 5)), (0, (2**40,), (0,)), (0, (-1,), (1,)), (1, (2,), (-1,)),
     (0, (2,), (1, 1)), (0, (True,), (1,)), (2**70, (1,), (1,)), (0, (1,) * 17, (1,) * 17), (0, (1.0,), (1,))],
)  # fmt: skip
def test_a_tensor_beyond_its_storage_is_refused(offset, shape, strides, refused):
    tensor = Tensor(np.zeros(4, np.float32), offset, shape, strides)
    refused(lambda path: torch_files.save(path, {"model": {"all_modules.0.W": tensor}}))


def test_storages_that_are_missing_or_of_another_size_are_refused(refused):
    def without(change):
        def write(path):
            torch_files.save(path, {"x": Tensor(np.zeros(4, np.float32))})
            with zipfile.ZipFile(path) as archive:
                entries = {name: archive.read(name) for name in archive.namelist()}
            change(entries)
            with zipfile.ZipFile(path, "w") as archive:
                for name, raw in entries.items():
                    archive.writestr(name, raw)

        return write

    assert "archive/data/0" in refused(without(lambda entries: entries.pop("archive/data/0")))
    assert "3 elements instead of 4" in refused(without(lambda e: e.update({"archive/data/0": bytes(12)})))
    refused(without(lambda e: e.update({"archive/data/0": bytes(13)})))
    refused(without(lambda e: e.update({"archive/byteorder": b"middle"})))


# Bombs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.use == "import"])
def test_a_hostile_file_is_refused_without_much_memory(name, refused):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(lambda path: KINDS[name].make(path, random.Random(name)), KINDS[name].file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # KiB: half a gigabyte


def test_a_dtype_that_numpy_does_not_have_is_said_to_be_one(refused):
    header = b'{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}'
    message = refused(struct.pack("<Q", len(header)) + header + bytes(8))
    assert "it has tensors of a dtype that NumPy does not have" in message


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")])
def test_a_name_that_is_the_beginning_of_another_is_refused(names):
    with pytest.raises(CheckpointFormatError, match="one by the beginning of its name"):
        nest(dict.fromkeys(names, np.zeros(1)))

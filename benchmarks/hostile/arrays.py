"""Hostile .npy and .npz files: data, inputs, masks, samples, statistics."""

import io
import json
import os
import pathlib
import pickle
import random
import struct
import zipfile

import numpy as np

from benchmarks.hostile.kinds import Kind, Make
from benchmarks.hostile.zips import zero_bomb, zipped

X = np.linspace(-1, 1, 240, dtype=np.float32).reshape(40, 6)
DEEP = "[" * 100_000 + "]" * 100_000


def npy(descr: object, shape: object, content: bytes = b"", *, fortran: bool = False, text: str | None = None) -> bytes:
    """An .npy file of version 1 with any header."""
    header = text or f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape!r}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + content


def saved(array: np.ndarray, **options: object) -> bytes:
    """What numpy.save writes."""
    file = io.BytesIO()
    np.save(file, array, **options)  # type: ignore[arg-type]
    return file.getvalue()


def archive(**arrays: object) -> bytes:
    """What numpy.savez writes."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def content(data: bytes) -> Make:
    """Writes a file of these bytes."""
    return lambda path, rng: path.write_bytes(data)


def flipped(data: bytes, start: float = 0.0, end: float = 1.0) -> Make:
    """Writes these bytes with a flipped bit, somewhere between two parts of the file."""

    def make(path: pathlib.Path, rng: random.Random) -> None:
        changed = bytearray(data)
        changed[rng.randrange(int(start * len(data)), int(end * len(data)))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(changed))

    return make


def cut(data: bytes) -> Make:
    """Writes the beginning of these bytes."""
    return lambda path, rng: path.write_bytes(data[: rng.randrange(1, len(data))])


def sparse(data: bytes, size: int) -> Make:
    """Writes these bytes, and a hole up to `size`."""

    def make(path: pathlib.Path, rng: random.Random) -> None:
        path.write_bytes(data)
        os.truncate(path, size)

    return make


class Bomb:
    """What pickle would execute."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch executed",)


PICKLED = pickle.dumps({"x": Bomb()}, protocol=2)
IMAGES = np.arange(64 * 20, dtype=np.uint8).reshape(20, 8, 8, 1) % 17
VALID_STATS = {"mu": np.zeros(64), "sigma": np.eye(64), "num": np.array(100)}


def encoded(about: str = "", **files: bytes | None) -> Make:
    """A folder that --mode=encode might have written, with other files; None: a pipe."""
    found: dict[str, bytes | None] = {
        "encoded.json": about.encode() or json.dumps({"shape": [6], "num_codes": 4, "num_classes": 0}).encode(),
        **{f"{split}.npy": saved(np.zeros((9, 6), np.uint8)) for split in ("train", "test")},
        **{f"{split}_labels.npy": saved(np.zeros(9, np.int32)) for split in ("train", "test")},
        **{f"{name}.npy": data for name, data in files.items()},
    }

    def make(path: pathlib.Path, rng: random.Random) -> None:
        path.mkdir()
        for name, data in found.items():
            os.mkfifo(path / name) if data is None else (path / name).write_bytes(data)

    return make


def _long_header(path: pathlib.Path, rng: random.Random) -> None:
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (40, 6), }" + " " * 2**23 + "\n"
    path.write_bytes(b"\x93NUMPY\x03\x00" + struct.pack("<I", len(text)) + text.encode() + X.tobytes())


KINDS = {
    "npy: empty": Kind("a.npy", "npy", content(b"")),
    "npy: a negative length": Kind("a.npy", "npy", content(npy("<f4", (-1, 6), X.tobytes()))),
    "npy: two negative lengths": Kind("a.npy", "npy", content(npy("<f4", (-40, -6), X.tobytes()))),
    "npy: petabytes": Kind("a.npy", "npy", content(npy("<f8", (2**47, 6), X.tobytes()))),
    "npy: a length beyond 64 bits": Kind("a.npy", "npy", content(npy("<f4", (2**70, 6), X.tobytes()))),
    "npy: no values in a trillion rows": Kind("a.npy", "npy", content(npy("<f4", (2**40, 0)))),
    "npy: Python objects": Kind("a.npy", "npy", content(saved(np.array([[{}]], object), allow_pickle=True))),
    "npy: records": Kind("a.npy", "npy", content(saved(np.zeros(5, [("a", "<f4"), ("b", "<i4")])))),
    "npy: texts of gigabytes": Kind("a.npy", "npy", content(npy("<U500000000", (3, 2), b"abc" * 100))),
    "npy: texts of no width": Kind("a.npy", "npy", content(npy("<U0", (2**50, 2)))),
    "npy: references to texts": Kind("a.npy", "npy", content(npy("T", (5, 2), bytes(160)))),
    "npy: an array as a dtype": Kind("a.npy", "npy", content(npy("(1000000,)<f8", (5, 2), bytes(80)))),
    "npy: a header of megabytes": Kind("a.npy", "npy", _long_header),
    "npy: a header of 4 GB": Kind("a.npy", "npy", content(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'")),
    "npy: a header with code": Kind(
        "a.npy", "npy", content(npy(0, 0, text="__import__('os').system('touch executed')"))
    ),
    "npy: a header with a thousand brackets": Kind("a.npy", "npy", content(npy(0, 0, text="(" * 5000))),
    "npy: a header with a thousand signs": Kind("a.npy", "npy", content(npy(0, 0, text="-" * 9000 + "1"))),
    "npy: a header with open quotes": Kind("a.npy", "npy", content(npy(0, 0, text="{'descr': '''"))),
    "npy: lengths that are no integers": Kind("a.npy", "npy", content(npy("<f4", (40.0, "6"), X.tobytes()))),
    "npy: a hundred axes": Kind("a.npy", "npy", content(npy("<f4", (1,) * 100, bytes(4)))),
    "npy: another version": Kind("a.npy", "npy", content(b"\x93NUMPY\x09" + saved(X)[7:])),
    "npy: cut off": Kind("a.npy", "npy", cut(saved(X))),
    "npy: a flipped bit in the header": Kind("a.npy", "npy", flipped(saved(X)[:60] + saved(X)[60:], 0, 0.05), True),
    "npy: a pickle": Kind("a.npy", "npy", content(PICKLED)),
    "npy: a folder": Kind("a.npy", "npy", lambda path, rng: path.mkdir()),
    "npy: a pipe": Kind("a.npy", "npy", lambda path, rng: os.mkfifo(path)),
    "npy: a link to itself": Kind("a.npy", "npy", lambda path, rng: path.symlink_to(path)),
    "npy: infinite values": Kind("a.npy", "npy", content(saved(np.full((40, 6), np.inf)))),
    "npz: gigabytes of zeros in megabytes": Kind(
        "a.npz", "npz", zero_bomb("x.npy", 5 * 2**30, npy("|u1", (5 * 2**30 // 8, 8)))
    ),
    "npz: gigabytes that call themselves small": Kind(
        "a.npz", "npz", zero_bomb("x.npy", 2**31, npy("|u1", (20, 8)), said=300)
    ),
    "npz: a member of 2^63 bytes": Kind("a.npz", "npz", zero_bomb("x.npy", 2**20, npy("|u1", (9, 8)), said=2**63)),
    "npz: a shape that is compressed well": Kind(
        "a.npz", "npz", zipped({"x.npy": npy("<f8", (2**40, 6))}, deflate=True)
    ),
    "npz: a member that is a text": Kind("a.npz", "npz", zipped({"x.npy": saved(X), "notes.txt": b"words"})),
    "npz: an array that is a text": Kind("a.npz", "npz", zipped({"x.npy": b"words"})),
    "npz: an array of objects": Kind("a.npz", "npz", content(archive(x=X, y=np.array([{}] * 40, object)))),
    "npz: compressed by bzip2": Kind("a.npz", "npz", zipped({"x.npy": bytes(2**24)}, method=zipfile.ZIP_BZIP2)),
    "npz: compressed by LZMA": Kind("a.npz", "npz", zipped({"x.npy": bytes(2**24)}, method=zipfile.ZIP_LZMA)),
    "npz: an archive in an archive": Kind("a.npz", "npz", zipped({"x.npy": archive(x=X)})),
    "npz: a flipped bit in the values": Kind("a.npz", "npz", flipped(archive(x=X), 0.2, 0.8)),
    "npz: a flipped bit anywhere": Kind("a.npz", "npz", flipped(archive(x=X)), True),
    "npz: cut off": Kind("a.npz", "npz", cut(archive(x=X))),
    "npz: a name with escapes": Kind("a.npz", "npz", zipped({"\x1b[31mred\x07.npy": b"", "b.npy": b""})),
    "npz: labels of billions": Kind("a.npz", "npz", content(archive(x=X, y=np.full(40, 2**62))), True),
    "input: a sparse terabyte": Kind(
        "a.npy", "input", sparse(npy("|u1", (2**34, 8, 8, 1)), len(npy("|u1", (2**34, 8, 8, 1))) + 2**40)
    ),
    "input: gigabytes of zeros": Kind(
        "a.npz", "input", zero_bomb("arr_0.npy", 3 * 2**30, npy("|u1", (3 * 2**24, 8, 8, 1)))
    ),
    "input: no arrays": Kind("a.npz", "input", zipped({})),
    "input: a flipped bit": Kind("a.npz", "input", flipped(archive(arr_0=IMAGES), 0.2, 0.7)),
    "input: levels beyond": Kind("a.npy", "input", content(saved(IMAGES.astype(np.int64) + 2**60))),
    "input: complex numbers": Kind("a.npy", "input", content(saved(IMAGES.astype(complex)))),
    "input: a pipe": Kind("a.png", "input", lambda path, rng: os.mkfifo(path)),
    "mask: objects": Kind("a.npy", "mask", content(saved(np.array([[None]], object), allow_pickle=True))),
    "mask: a flipped bit": Kind("a.npz", "mask", flipped(archive(arr_0=np.ones((8, 8))), 0.3, 0.6)),
    "mask: a trillion": Kind("a.npy", "mask", content(npy("|b1", (2**20, 2**20)))),
    "samples: no pixels in a trillion images": Kind(
        "a.npz", "samples", zipped({"arr_0.npy": npy("|u1", (2**40, 0, 8, 1))})
    ),
    "samples: gigabytes of zeros": Kind(
        "a.npz", "samples", zero_bomb("arr_0.npy", 5 * 2**30, npy("|u1", (5 * 2**24, 8, 8, 1)))
    ),
    "samples: a flipped bit": Kind("a.npz", "samples", flipped(archive(arr_0=IMAGES), 0.2, 0.7)),
    "samples: cut off": Kind("a.npz", "samples", cut(archive(arr_0=IMAGES))),
    "samples: in Fortran order": Kind(
        "a.npz", "samples", content(archive(arr_0=np.asfortranarray(np.tile(IMAGES, 2))))
    ),
    "samples: texts": Kind("a.npz", "samples", content(archive(arr_0=np.array([["a"]])))),
    "stats: gigabytes of zeros": Kind(
        "a.npz", "stats", zero_bomb("sigma.npy", 5 * 2**30, npy("<f8", (2**13, 5 * 2**14)))
    ),
    "stats: a flipped bit": Kind("a.npz", "stats", flipped(archive(**VALID_STATS), 0.1, 0.9)),
    "stats: not finite": Kind("a.npz", "stats", content(archive(**VALID_STATS | {"mu": np.full(64, np.nan)}))),
    "stats: texts": Kind("a.npz", "stats", content(archive(**VALID_STATS | {"mu": np.array(["a"] * 64)}))),
    "stats: a provenance nested deep": Kind(
        "a.npz", "stats", content(archive(**VALID_STATS, provenance=np.array(DEEP)))
    ),
    "stats: a provenance that is a list": Kind(
        "a.npz", "stats", content(archive(**VALID_STATS, provenance=np.array("[1]")))
    ),
    "stats: another provenance": Kind(
        "a.npz", "stats", content(archive(**VALID_STATS, provenance=np.array(json.dumps({"features": "x" * 10**6}))))
    ),
    "stats: a number that is none": Kind("a.npz", "stats", content(archive(**VALID_STATS | {"num": np.array("many")}))),
    "stats: numbers in place of a number": Kind(
        "a.npz", "stats", content(archive(**VALID_STATS | {"num": np.arange(9)}))
    ),
    "inception: gigabytes of zeros": Kind(
        "a.npz", "inception", zero_bomb("a.npy", 5 * 2**30, npy("|u1", (5 * 2**30,)))
    ),
    "inception: other arrays": Kind("a.npz", "inception", content(archive(x=X))),
    "encoded: codes of petabytes": Kind("codes", "encoded", encoded(train=npy("|u1", (2**50, 6), bytes(54)))),
    "encoded: codes beyond": Kind("codes", "encoded", encoded(train=saved(np.full((9, 6), 200, np.uint8)))),
    "encoded: labels that are texts": Kind("codes", "encoded", encoded(train_labels=saved(np.array(["a"] * 9)))),
    "encoded: labels of 2^40": Kind("codes", "encoded", encoded(train_labels=saved(np.full(9, 2**40)))),
    "encoded: labels beyond the classes": Kind(
        "codes",
        "encoded",
        encoded(
            json.dumps({"shape": [6], "num_codes": 4, "num_classes": 3}),
            test_labels=saved(np.arange(9, dtype=np.int32)),
        ),
    ),
    "encoded: a pipe": Kind("codes", "encoded", encoded(test=None)),
    "encoded: a description nested deep": Kind("codes", "encoded", encoded(DEEP)),
    "encoded: a shape of a thousand axes": Kind(
        "codes", "encoded", encoded(json.dumps({"shape": [2**62] * 1000, "num_codes": 4, "num_classes": 0}))
    ),
    "encoded: a negative number of codes": Kind(
        "codes", "encoded", encoded(json.dumps({"shape": [6], "num_codes": -(10**300), "num_classes": 0}))
    ),
    "encoded: a text in place of a number of classes": Kind(
        "codes", "encoded", encoded(json.dumps({"shape": [6], "num_codes": 4, "num_classes": "many"}))
    ),
}

"""Hostile tar archives: WebDataset shards, and archives of CIFAR-10."""

import gzip
import io
import os
import pathlib
import pickle
import random
import tarfile
from collections.abc import Mapping

import numpy as np
from PIL import Image

from benchmarks.hostile.arrays import DEEP, PICKLED
from benchmarks.hostile.kinds import Kind, Make


def png(side: int = 4, value: int = 0) -> bytes:
    """A gray image."""
    file = io.BytesIO()
    Image.fromarray(np.full((side, side), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def info(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    """The header of a member."""
    found = tarfile.TarInfo(name)
    found.size, found.type, found.linkname = size, kind, link
    return found


def tarred(members: Mapping[str, bytes], *more: tarfile.TarInfo) -> bytes:
    """A tar archive of these files, and headers without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            archive.addfile(info(name, len(data)), io.BytesIO(data))
        for header in more:
            archive.addfile(header)
    return buffer.getvalue()


def headed(kind: bytes, data: bytes, size: int | None = None) -> bytes:
    """A header of `kind` with data, which says that it has `size` bytes, before those of a file."""
    header = info("x", len(data) if size is None else size, kind).tobuf(tarfile.GNU_FORMAT)
    return header + data + bytes(-len(data) % 512) + info("0.png").tobuf() + bytes(1024)


GOOD = {f"{number}.png": png(value=number) for number in range(20)}


def shard(more: Mapping[str, bytes] = {}, *headers: tarfile.TarInfo, after: bytes = b"") -> Make:
    """A shard of good images, with other members; after: what is appended in place of the end."""

    def make(path: pathlib.Path, rng: random.Random) -> None:
        data = tarred({**GOOD, **more}, *headers)
        path.write_bytes(open_end(data) + after if after else data)

    return make


def open_end(data: bytes) -> bytes:
    """A tar archive without the zeros at its end."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        last = archive.getmembers()[-1]
    return data[: last.offset_data + last.size + -last.size % 512]


def texts(ending: str, first: bytes, other: bytes) -> Make:
    """A shard whose first example has another text than the rest."""

    def make(path: pathlib.Path, rng: random.Random) -> None:
        more = {f"{number}.{ending}": other if number else first for number in range(20)}
        path.write_bytes(tarred({name: {**GOOD, **more}[name] for name in sorted({**GOOD, **more})}))

    return make


def sparse_member(path: pathlib.Path, rng: random.Random) -> None:
    """An image that is a hole of a terabyte."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        header = info("20.png", 512)
        header.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**40)}
        archive.addfile(header, io.BytesIO(b"0\n" + bytes(510)))


def bombed(path: pathlib.Path, rng: random.Random) -> None:
    """A batch of gigabytes of zeros."""
    with gzip.open(path, "wb", 1) as file:
        file.write(info("cifar-10-batches-bin/data_batch_1.bin", 5 * 2**30).tobuf(tarfile.GNU_FORMAT))
    piece = gzip.compress(bytes(2**24), 9)
    with path.open("ab") as file:
        file.write(piece * 320)


def hidden(path: pathlib.Path, rng: random.Random) -> None:
    """A header of gigabytes of zeros."""
    with gzip.open(path, "wb", 1) as file:
        file.write(info("x", 5 * 2**30, tarfile.XHDTYPE).tobuf(tarfile.GNU_FORMAT))
    piece = gzip.compress(bytes(2**24), 9)
    with path.open("ab") as file:
        file.write(piece * 320)


ROWS = b"".join(bytes([row]) + bytes([row] * 3072) for row in range(10))
NAMES = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
BINARY = tarred({f"cifar-10-batches-bin/{name}.bin": ROWS for name in NAMES})


def compressed(data: bytes, after: bytes = b"") -> Make:
    """An archive compressed by gzip, with garbage after it."""
    return lambda path, rng: path.write_bytes(gzip.compress(data, 1) + after)


def pickled(data: bytes) -> Make:
    """An archive of Python batches that are this pickle."""
    return compressed(tarred({f"cifar-10-batches-py/{name}": data for name in NAMES}))


def folder_of_pipes(path: pathlib.Path, rng: random.Random) -> None:
    """A folder of batches that are pipes."""
    path.mkdir()
    for name in NAMES:
        os.mkfifo(path / name)


def _forged() -> bytes:
    """An array of objects that is built from raw bytes, with a dtype whose flags say that there are none."""
    dtype = b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8I00\nI01\ntR(I3\nX\x01\x00\x00\x00|NNNI-1\nI-1\nI0\ntb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR(I1\n(I4\nt" + dtype
    return b"\x80\x03}(C\x04data" + array + b"I00\nC " + b"A" * 32 + b"tbC\x06labels](I0\nI0\nI0\nI0\neu."


def _nested() -> bytes:
    """A dictionary whose key is a tuple of tuples, 2^34 leaves in all."""
    program = b"\x80\x04}(K\x00\x85q\x00"
    for depth in range(34):
        program += b"h" + bytes([depth]) + b"h" + bytes([depth]) + b"\x86q" + bytes([depth + 1])
    return program + b"K\x01u."


FORGED, NESTED = _forged(), _nested()
KINDS = {
    "wds: links to nothing": Kind(
        "a.tar",
        "wds",
        shard({}, info("20.png", kind=tarfile.SYMTYPE, link="gone"), info("21.png", kind=tarfile.LNKTYPE, link="gone")),
        True,
    ),
    "wds: devices and pipes": Kind(
        "a.tar", "wds", shard({}, info("20.png", kind=tarfile.CHRTYPE), info("21.png", kind=tarfile.FIFOTYPE)), True
    ),
    "wds: names that lead outside": Kind(
        "a.tar", "wds", shard({"../../../tmp/20.png": png(), "/etc/21.png": png()}), True
    ),
    "wds: a hole of a terabyte": Kind("a.tar", "wds", sparse_member),
    "wds: a negative size": Kind(
        "a.tar", "wds", shard(after=info("20.png", -512 * 3).tobuf(tarfile.GNU_FORMAT) + png())
    ),
    "wds: a negative size in a note": Kind(
        "a.tar", "wds", shard(after=headed(tarfile.XHDTYPE, b"19 size=-10000000\n"))
    ),
    "wds: a note of a megabyte of digits": Kind("a.tar", "wds", shard(after=headed(tarfile.XHDTYPE, b"1" * 2**20))),
    "wds: a note of terabytes": Kind("a.tar", "wds", shard(after=headed(tarfile.XHDTYPE, b"10 size=1\n", 2**43))),
    "wds: a name of terabytes": Kind("a.tar", "wds", shard(after=headed(tarfile.GNUTYPE_LONGNAME, b"x", 2**43))),
    "wds: an image of terabytes": Kind("a.tar", "wds", shard(after=info("20.png", 2**43).tobuf(tarfile.GNU_FORMAT))),
    "wds: JSON nested deep": Kind("a.tar", "wds", texts("json", DEEP.encode(), b"{}")),
    "wds: JSON of long numbers": Kind("a.tar", "wds", texts("json", b'{"a": ' + b"9" * 10**6 + b"}", b'{"a": 1}')),
    "wds: JSON of large numbers": Kind("a.tar", "wds", texts("json", b'{"a": ' + b"9" * 4000 + b"}", b'{"a": 1}')),
    "wds: JSON that is no number": Kind("a.tar", "wds", texts("json", b'{"a": NaN}', b'{"a": 1}')),
    "wds: JSON with a key twice": Kind("a.tar", "wds", texts("json", b'{"a": 1, "a": 2}', b'{"a": 1}'), True),
    "wds: JSON of 40 MB": Kind("a.tar", "wds", texts("json", b"[" + b"[]," * (40 * 2**20 // 3) + b"[]]", b"{}")),
    "wds: a long text among short ones": Kind("a.tar", "wds", texts("txt", b"x" * (15 * 2**20), b"a"), True),
    "wds: texts that are not UTF-8": Kind("a.tar", "wds", texts("txt", b"\xff\xfe\x00", b"a")),
    "wds: compressed": Kind("a.tar", "wds", lambda path, rng: path.write_bytes(gzip.compress(tarred(GOOD)))),
    "wds: cut off": Kind(
        "a.tar", "wds", lambda path, rng: path.write_bytes(tarred(GOOD)[: rng.randrange(600, 19 * 1024)]), True
    ),
    "cifar10: a batch of gigabytes of zeros": Kind("a.tar.gz", "cifar10", bombed),
    "cifar10: a note of gigabytes of zeros": Kind("a.tar.gz", "cifar10", hidden),
    "cifar10: garbage after the archive": Kind("a.tar.gz", "cifar10", compressed(BINARY, b"garbage" * 100), True),
    "cifar10: links to nothing": Kind(
        "a.tar.gz",
        "cifar10",
        compressed(tarred({}, *[info(name, kind=tarfile.SYMTYPE, link="gone") for name in NAMES])),
    ),
    "cifar10: cut off": Kind("a.tar.gz", "cifar10", lambda path, rng: path.write_bytes(gzip.compress(BINARY)[:400])),
    "cifar10: a folder of pipes": Kind("batches", "cifar10", folder_of_pipes),
    "cifar10: a pipe": Kind("a.tar.gz", "cifar10", lambda path, rng: os.mkfifo(path)),
    "cifar10: a pickle with code": Kind("a.tar.gz", "cifar10", pickled(PICKLED)),
    "cifar10: a forged dtype": Kind("a.tar.gz", "cifar10", pickled(FORGED)),
    "cifar10: keys that are nested tuples": Kind("a.tar.gz", "cifar10", pickled(NESTED)),
    "cifar10: a list in itself": Kind("a.tar.gz", "cifar10", pickled(b"\x80\x02]q\x00h\x00a.")),
    "cifar10: other contents": Kind("a.tar.gz", "cifar10", pickled(pickle.dumps({b"data": [[1]], b"labels": [0]}, 2))),
}

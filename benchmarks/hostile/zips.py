"""Zip archives that no one else writes, and hostile archives of images."""

import io
import pathlib
import random
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping

from benchmarks.hostile.kinds import Kind, Make

PIECE = 2**24  # bytes of zeros that a block unpacks to


def zipped(members: Mapping[str, bytes], *, deflate: bool = False, method: int | None = None) -> Make:
    """A zip archive of these members."""
    kind = method or (zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED)

    def make(path: pathlib.Path, rng: random.Random) -> None:
        with zipfile.ZipFile(path, "w", kind) as archive:
            for name, data in members.items():
                archive.writestr(name, data)

    return make


def zeros(num_bytes: int, start: bytes = b"") -> bytes:
    """A deflated stream of `start` and then zeros, `num_bytes` in all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(PIECE)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + piece * (num_bytes // PIECE) + packer.flush(zlib.Z_FINISH)


def entry(
    name: str, data: bytes, size: int, offset: int, *, method: int = 8, flags: int = 0, crc: int = 0
) -> tuple[bytes, bytes]:
    """(local header with the data, line of the directory) of a member that says to unpack to `size` bytes."""
    large = size >= 2**32 - 1
    extra = struct.pack("<HHQQ", 1, 16, size, len(data)) if large else b""
    told = (2**32 - 1, 2**32 - 1) if large else (len(data), size)
    encoded = name.encode()
    middle = struct.pack("<HHHHHIIIHH", 45, flags, method, 0, 33, crc, *told, len(encoded), len(extra))
    local = b"PK\3\4" + middle + encoded + extra + data
    line = b"PK\1\2\x2d\0" + middle + struct.pack("<HHHII", 0, 0, 0, 0, offset) + encoded + extra
    return local, line


def directory(lines: list[bytes], start: int) -> bytes:
    """The end of a zip archive."""
    size = sum(map(len, lines))
    return b"".join(lines) + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, len(lines), len(lines), size, start, 0)


def zero_bomb(name: str, num_bytes: int, start: bytes = b"", *, said: int | None = None) -> Make:
    """A zip archive whose member unpacks to `start` and zeros, but may call itself smaller or larger."""

    def make(path: pathlib.Path, rng: random.Random) -> None:
        local, line = entry(name, zeros(num_bytes, start), num_bytes if said is None else said, 0)
        path.write_bytes(local + directory([line], len(local)))

    return make


def overlapping(ending: str, count: int) -> Make:
    """A zip archive of `count` members, 000 and so on, that are the same bytes of it."""

    def make(path: pathlib.Path, rng: random.Random) -> None:
        data = bytes(2**22)
        local, line = entry(f"000{ending}", data, len(data), 0, method=0, crc=zlib.crc32(data))
        lines = [line.replace(b"000", b"%03d" % number) for number in range(count)]
        path.write_bytes(local + directory(lines, len(local)))

    return make


def encrypted(path: pathlib.Path, rng: random.Random) -> None:
    """A member that says that it is encrypted."""
    local, line = entry("0.png", b"x" * 50, 38, 0, method=0, flags=1)
    path.write_bytes(local + directory([line], len(local)))


def many(path: pathlib.Path, rng: random.Random) -> None:
    """Fifty thousand members of no bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(50_000):
            archive.writestr(f"{number}.png", b"")
    path.write_bytes(buffer.getvalue())


def linked(path: pathlib.Path, rng: random.Random) -> None:
    """A member that is a link to a file outside."""
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("0.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")


KINDS = {
    "zip: gigabytes of zeros in an image": Kind("a.zip", "zip", zero_bomb("0.png", 5 * 2**30)),
    "zip: gigabytes that call themselves small": Kind("a.zip", "zip", zero_bomb("0.png", 2**31, said=100)),
    "zip: a table of gigabytes": Kind("a.zip", "zip", zero_bomb("metadata.csv", 3 * 2**30, b"file_name,label\n")),
    "zip: members that overlap": Kind("a.zip", "zip", overlapping(".png", 500)),
    "zip: arrays that overlap": Kind("a.npz", "npz", overlapping(".npy", 500)),
    "zip: encrypted": Kind("a.zip", "zip", encrypted),
    "zip: fifty thousand empty images": Kind("a.zip", "zip", many),
    "zip: a link": Kind("a.zip", "zip", linked),
    "zip: compressed by LZMA": Kind("a.zip", "zip", zipped({"0.png": bytes(2**25)}, method=zipfile.ZIP_LZMA)),
    "zip: a directory that is not there": Kind(
        "a.zip", "zip", lambda path, rng: path.write_bytes(directory([b"PK\1\2" + bytes(42)], 2**31))
    ),
    "zip: no members": Kind("a.zip", "zip", zipped({})),
    "zip: names that lead outside": Kind("a.zip", "zip", zipped({"../../0.png": b"", "/etc/1.png": b""})),
    "zip: a table with a huge cell": Kind(
        "a.zip", "zip", zipped({"0.png": b"", "metadata.csv": b"file_name,a\n0.png," + b"x" * 2**20 + b"\n"})
    ),
}

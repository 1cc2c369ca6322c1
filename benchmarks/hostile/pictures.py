"""Hostile image files: in folders, as samples, and as inputs."""

import io
import os
import pathlib
import random
import socket
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from benchmarks.hostile.kinds import Kind, Make
from benchmarks.hostile.tars import png

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(executed) (w) file closefile\nshowpage\n%%EOF\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


def chunk(name: bytes, data: bytes, crc: int | None = None) -> bytes:
    """A chunk of a PNG file."""
    return (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) if crc is None else crc)
    )


def raw_png(width: int, height: int, rows: bytes, *more: bytes, depth: int = 8, kind: int = 0, laced: int = 0) -> bytes:
    """A PNG file of any header; more: further chunks before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, laced))
    pixels = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + pixels + chunk(b"IEND", b"")


def encoded(form: str, array: np.ndarray, **options: object) -> bytes:
    """An image in a format of Pillow."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, form, **options)
    return file.getvalue()


NOISE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
ROWS = bytes(8 * 9)
TEXT = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26), 9))
PROFILE = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**26), 9))


def beside(data: bytes | Callable[[pathlib.Path], object], name: str = "9.png") -> Make:
    """A folder of good images, and one more."""

    def make(path: pathlib.Path, rng: random.Random) -> None:
        path.mkdir()
        for number in range(8):
            (path / f"{number}.png").write_bytes(png(8, number))
        data(path / name) if callable(data) else (path / name).write_bytes(data)

    return make


def damaged(data: bytes) -> Make:
    """A folder of good images, and one with several changed bytes."""

    def make(path: pathlib.Path, rng: random.Random) -> None:
        changed = bytearray(data)
        for _ in range(8):
            changed[rng.randrange(8, len(changed))] = rng.randrange(256)
        beside(bytes(changed))(path, rng)

    return make


def bound(path: pathlib.Path) -> None:
    """A socket, by a short name, since those of sockets are."""
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as file:
        file.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


def around(path: pathlib.Path) -> None:
    """A folder that is a link to the one that it is in."""
    path.with_suffix("").symlink_to(path.parent, target_is_directory=True)


BROKEN: dict[str, bytes] = {
    "PostScript": EPS,
    "SVG": SVG,
    "no bytes": b"",
    "a PNG of a billion pixels": raw_png(2**15, 2**15, bytes(100)),
    "a PNG of 2^62 pixels": raw_png(2**31 - 1, 2**31 - 1, bytes(100)),
    "a PNG without pixels": raw_png(0, 8, b""),
    "a PNG with few rows": raw_png(8, 8, bytes(20)),
    "a PNG with a wrong checksum": png(8)[:-20] + bytes(4) + png(8)[-16:],
    "a PNG with a text of 64 MB": raw_png(8, 8, ROWS, TEXT),
    "a PNG with a profile of 64 MB": raw_png(8, 8, ROWS, PROFILE),
    "a PNG with a chunk of 2 GB": png(8)[:33] + struct.pack(">I", 2**31 - 1) + b"tEXt",
    "a PNG of an unknown depth": raw_png(8, 8, ROWS, depth=3),
    "a PNG of 16 bits with few rows": raw_png(8, 8, bytes(20), depth=16),
    "a PNG that is cut off": png(8)[:-30],
    "a JPEG that is cut off": encoded("JPEG", NOISE)[:-200],
    "a JPEG of four billion pixels": encoded("JPEG", NOISE).replace(
        b"\x08\x00\x08\x00\x08\x03", b"\x08\xff\xff\xff\xff\x03"
    ),
    "a WebP that is cut off": encoded("WEBP", NOISE)[:40],
    "a GIF": encoded("GIF", NOISE),
    "a TIFF": encoded("TIFF", NOISE),
    "a BMP": encoded("BMP", NOISE),
    "a PDF": encoded("PDF", NOISE),
}
OTHERS: dict[str, tuple[Make, bool]] = {
    "a PNG with damage": (damaged(png(8)), True),
    "a JPEG with damage": (damaged(encoded("JPEG", np.repeat(np.repeat(NOISE, 1, 0), 1, 1))), True),
    "a WebP with damage": (damaged(encoded("WEBP", NOISE, lossless=True)), True),
    "a palette that is too short": (
        beside(raw_png(8, 8, b"\0" + b"\xff" * 71, chunk(b"PLTE", bytes(3)), kind=3)),
        True,
    ),
    "an orientation that is none": (
        beside(raw_png(8, 8, ROWS, chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\3\0\1\0\0\0c\0\0\0" + bytes(4)))),
        True,
    ),
    "a pipe": (beside(os.mkfifo), True),
    "a socket": (beside(bound), True),
    "a link to itself": (beside(lambda path: path.symlink_to(path)), True),
    "a folder that is in itself": (beside(around), True),
    "a folder called image": (beside(lambda path: path.mkdir()), True),
}
KINDS = {
    **{f"folder: {name}": Kind("pictures", "folder", beside(data)) for name, data in BROKEN.items()},
    **{f"folder: {name}": Kind("pictures", "folder", make, fine) for name, (make, fine) in OTHERS.items()},
    "samples: PostScript": Kind("pictures", "samples", beside(EPS)),
    "samples: a PNG of a billion pixels": Kind("pictures", "samples", beside(BROKEN["a PNG of a billion pixels"])),
    "samples: a PNG with a text of 64 MB": Kind("pictures", "samples", beside(raw_png(8, 8, ROWS, TEXT))),
    "samples: a pipe": Kind("pictures", "samples", beside(os.mkfifo), True),
    "input: PostScript": Kind("a.png", "input", lambda path, rng: path.write_bytes(EPS)),
    "input: SVG": Kind("a.png", "input", lambda path, rng: path.write_bytes(SVG)),
    "input: a PNG of a billion pixels": Kind(
        "a.png", "input", lambda path, rng: path.write_bytes(raw_png(2**15, 2**15, bytes(9)))
    ),
    "input: a PNG with a profile of 64 MB": Kind(
        "a.png", "input", lambda path, rng: path.write_bytes(raw_png(8, 8, ROWS, PROFILE))
    ),
    "input: a folder with a pipe": Kind("pictures", "input", beside(os.mkfifo), True),
    "mask: PostScript": Kind("a.png", "mask", lambda path, rng: path.write_bytes(EPS)),
}

"""Random changes of files: of their bytes, and of what is inside of containers, whose checksums then fit again."""

import gzip
import io
import json
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from data.published import masked_crc32c

NUMBERS = (
    0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 32767, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1,
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 0.5, 1e308, float("nan"), 2**70, "", "x" * 5000, "\x1b[2J\n", "../../etc/passwd", "\ud800",
    [], {}, [[]], [None], {"": None}, [0] * 1000, "1", -0.0, {"a": {"b": {"c": []}}},
)  # fmt: skip
TOKENS = (
    b"\xff", b"\x00" * 8, b"\xff" * 8, b"%!PS-Adobe-3.0\n", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"<f8", b"|O",
    b"(q\x00h\x00", b"h\x00h\x00\x86", b"cposix\nsystem\n", b"R", b"b", b"e", b"}", b"]", b"\x80\x02", b"999999999999",
    b"'descr': '|O'", b"'shape': (1099511627776,)", b"\xdf\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01", b"\xff\xda",
    b"\xe2\x80\xa8", b"null", b"[[", b"{",
)  # fmt: skip
_NESTED = 3  # containers in each other


def changed(rng: random.Random, name: str, content: bytes, depth: int = 0) -> bytes:
    """Another file like `content`, which is called `name`: changed inside, with checksums that fit, or anywhere."""
    inside = next((change for ending, change in CONTAINERS.items() if name.endswith(ending)), None)
    if inside is not None and depth < _NESTED and rng.random() < 0.7:
        try:
            return inside(rng, content, depth + 1)
        except Exception:  # what was changed before may be no container any more
            pass
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = rng.choice(CHANGES)(rng, content)
    return content


# Bytes ------------------------------------------------------------------------------------------------------------


def _span(rng: random.Random, content: bytes) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice((1, 2, 4, 8, 16, 64, 512, 4096)))


def _flipped(rng: random.Random, content: bytes) -> bytes:
    if not content:
        return content
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def _numbered(rng: random.Random, content: bytes) -> bytes:
    """A number that limits are likely to be at, of 1, 2, 4 or 8 bytes in either order."""
    size, start = rng.choice((1, 2, 4, 8)), rng.randrange(len(content) + 1)
    number = (rng.choice(NUMBERS) + rng.choice((-1, 0, 0, 1))) % 2 ** (8 * size)
    return content[:start] + number.to_bytes(size, rng.choice(("little", "big"))) + content[start + size :]


def _digits(rng: random.Random, content: bytes) -> bytes:
    places = [place for place, byte in enumerate(content) if 48 <= byte < 58]
    if not places:
        return _flipped(rng, content)
    place = rng.choice(places)
    return content[:place] + str(rng.choice(NUMBERS)).encode() + content[place + 1 :]


def _removed(rng: random.Random, content: bytes) -> bytes:
    start, end = _span(rng, content)
    return content[:start] + content[end:]


def _zeroed(rng: random.Random, content: bytes) -> bytes:
    start, end = _span(rng, content)
    return content[:start] + bytes(end - start) + content[end:]


def _repeated(rng: random.Random, content: bytes) -> bytes:
    start, end = _span(rng, content)
    return content[:end] + content[start:end] * rng.choice((1, 2, 10, 1000)) + content[end:]


def _moved(rng: random.Random, content: bytes) -> bytes:
    (a, b), place = _span(rng, content), rng.randrange(len(content) + 1)
    return content[:place] + content[a:b] + content[place:]


def _inserted(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice((rng.choice(TOKENS), rng.randbytes(rng.randrange(20)))) + content[place:]


def _cut(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flipped, _flipped, _numbered, _numbered, _digits, _removed, _zeroed, _repeated, _moved, _inserted, _cut,
)  # fmt: skip


# Containers -------------------------------------------------------------------------------------------------------


def _zip(rng: random.Random, content: bytes, depth: int) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    chosen = rng.randrange(len(members))
    info, data = members[chosen]
    members[chosen] = info, changed(rng, info.filename, data, depth)
    if rng.random() < 0.1:
        members.append(rng.choice(members))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, data in members:
            archive.writestr(info.filename, data, rng.choice((info.compress_type, zipfile.ZIP_DEFLATED)))
    return buffer.getvalue()


def _gzip(rng: random.Random, content: bytes, depth: int) -> bytes:
    return gzip.compress(changed(rng, ".tar", gzip.decompress(content), depth), 1)


def _tar(rng: random.Random, content: bytes, depth: int) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = [(m, archive.extractfile(m).read() if m.isreg() else b"") for m in archive]  # type: ignore[union-attr]
    chosen = rng.randrange(len(members))
    member, data = members[chosen]
    members[chosen] = member, changed(rng, member.name, data, depth)
    if rng.random() < 0.2:
        member.type, member.linkname = rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE)), "nowhere"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, data in members:
            member.size = len(data) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _png(rng: random.Random, content: bytes, depth: int) -> bytes:
    chunks, position = [], 8
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        chunks.append((content[position + 4 : position + 8], content[position + 8 : position + 8 + length]))
        position += 12 + length
    chosen = rng.randrange(len(chunks))
    name, data = chunks[chosen]
    if name == b"IDAT" and rng.random() < 0.5:
        data = zlib.compress(changed(rng, "", zlib.decompress(data), depth))
    else:
        data = changed(rng, "", data, depth)
    chunks[chosen] = (
        rng.choice((name, name, name, rng.choice(chunks)[0], b"tRNS", b"PLTE", b"zTXt", b"eXIf", b"acTL")),
        data,
    )
    if rng.random() < 0.2:
        chunks.insert(rng.randrange(len(chunks)), rng.choice(chunks))
    return content[:8] + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _tfrecords(rng: random.Random, content: bytes, depth: int) -> bytes:
    payloads, position = [], 0
    while position < len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        payloads.append(content[position + 12 : position + 12 + length])
        position += 16 + length
    chosen = rng.randrange(len(payloads))
    payloads[chosen] = changed(rng, "", payloads[chosen], depth)
    found = b""
    for payload in payloads:
        length = len(payload) if rng.random() < 0.95 else rng.choice(NUMBERS) % 2**64
        head = struct.pack("<Q", length)
        found += head + struct.pack("<I", masked_crc32c(head)) + payload + bytes(4)
    return found


def _json(rng: random.Random, content: bytes, depth: int) -> bytes:
    """A value at any place of a JSON text, or of one of its lines, becomes another one, or vanishes."""
    del depth
    lines = content.splitlines() if content.count(b"\n{") else [content]
    chosen = rng.randrange(len(lines))
    tree = {"": json.loads(lines[chosen])}
    node: Any = tree
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not (isinstance(node[key], dict | list) and node[key]) or rng.random() < 0.2:
            break
        node = node[key]
    if rng.random() < 0.2 and node is not tree:
        del node[key]
    else:
        node[key] = rng.choice(ODD)
    lines[chosen] = json.dumps(tree[""]).encode()
    return b"\n".join(lines) + b"\n"


CONTAINERS: dict[str, Callable[[random.Random, bytes, int], bytes]] = {
    ".npz": _zip, ".zip": _zip, ".pth": _zip, ".tar.gz": _gzip, ".tar": _tar, ".png": _png, ".tfrecords": _tfrecords,
    ".json": _json, ".jsonl": _json, "metadata": _json, "_METADATA": _json,
}  # fmt: skip

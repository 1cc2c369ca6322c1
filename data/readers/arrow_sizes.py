"""What the batches of an Arrow file unpack to, by its messages, before anything is unpacked.

The library takes as much memory as a compressed buffer says that it needs: the number before its bytes. Where the
buffers of a batch are is in a FlatBuffer: a table begins with the distance back to the list of the places of its
fields. Source: the file Message.fbs and the page "Columnar format" of Apache Arrow.
"""

import pathlib
import struct
from collections.abc import Iterator
from typing import Any

MAGIC = b"ARROW1\0\0"  # of a file that is not a stream
_DICTIONARY, _BATCH = 2, 3  # kinds of messages
_KIND, _HEADER = 1, 2  # fields of a message
_DATA = 1  # field of a dictionary
_BUFFERS, _COMPRESSION = 2, 3  # fields of a batch


def unpacked_bytes(path: pathlib.Path) -> int:
    """Bytes to which the compressed buffers of all batches unpack, as they say.

    Errors: ArrowException and struct.error for a damaged file.
    """
    import pyarrow as pa

    total = 0
    with pa.memory_map(str(path)) as mapped:
        start = len(MAGIC) if mapped.read(len(MAGIC)) == MAGIC else 0
        mapped.seek(start)
        for message in pa.ipc.MessageReader.open_stream(mapped):
            total += sum(_sizes(memoryview(message.metadata), message.body))
    return total


def _sizes(table: memoryview, body: Any) -> Iterator[int]:
    """The sizes that compressed buffers say that they have."""
    root = _at("<I", table, 0)
    kind = _field(table, root, _KIND)
    header = _field(table, root, _HEADER)
    if not kind or not header or _at("<B", table, kind) not in (_DICTIONARY, _BATCH):
        return
    batch = _follow(table, header)
    if _at("<B", table, kind) == _DICTIONARY:
        batch = _follow(table, _field(table, batch, _DATA))
    buffers = _field(table, batch, _BUFFERS)
    if not _field(table, batch, _COMPRESSION) or not buffers or body is None:
        return
    listed, content = _follow(table, buffers), memoryview(body)
    for number in range(_at("<I", table, listed)):
        offset, length = struct.unpack_from("<qq", table, listed + 4 + 16 * number)
        if length:
            yield max(0, _at("<q", content, offset))  # -1: not compressed


def _at(form: str, data: memoryview, place: int) -> int:
    (value,) = struct.unpack_from(form, data, place)
    return int(value)


def _follow(table: memoryview, place: int) -> int:
    """Where the part begins to which a field refers."""
    return place + _at("<I", table, place)


def _field(table: memoryview, start: int, number: int) -> int:
    """Where a field of a table is; 0 where it has none."""
    fields = start - _at("<i", table, start)
    inside = 4 + 2 * number < _at("<H", table, fields)
    offset = _at("<H", table, fields + 4 + 2 * number) if inside else 0
    return start + offset if offset else 0

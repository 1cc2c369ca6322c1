"""Arrays in .npy and .npz files: a header is checked before anything is allocated, and nothing is executed."""

import io
import math
import pathlib
import sys
import zipfile
from typing import BinaryIO, NamedTuple

import numpy as np

from core.files import size_of
from core.reading import UnreadableError, check_size, open_member, open_zip, reading, reason

MAX_HEADER = 10_000  # bytes, as NumPy's own limit
MAX_ITEM = 2**24  # bytes of a single value, such as a text
_PIECE = 2**24  # bytes that are unpacked at a time


class Header(NamedTuple):
    """What an array in a file is, and its number of bytes."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    num_bytes: int


def read_header(stream: BinaryIO, size: int) -> Header:
    """The header of an array in a file or an archive's member of `size` bytes; the stream is then at its values.

    Errors: UnreadableError for what is no array, for an array of Python objects, and for one that has another size than
    the file says: a flipped bit in a shape is noticed.
    """
    with reading():
        start = stream.read(8)
        if len(start) < 8 or start[:6] != np.lib.format.MAGIC_PREFIX or start[6] not in (1, 2, 3):
            raise UnreadableError("it does not start as an array file does")
        prefix = stream.read(2 if start[6] == 1 else 4)
        length = int.from_bytes(prefix, "little")
        if length > MAX_HEADER:
            raise UnreadableError(f"its header has {length:,} bytes, and those of arrays at most {MAX_HEADER:,}")
        shape, fortran_order, dtype = _parsed(start[6], prefix + stream.read(length))
        header = Header(shape, fortran_order, dtype, math.prod(shape) * dtype.itemsize)
        left = size - 8 - len(prefix) - length
        if header.num_bytes != left:
            raise UnreadableError(
                f"it has {max(0, left):,} bytes of values, but says {str(dtype)[:50]} {_shown(shape)}"
            )
        return header


def _parsed(version: int, header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    read = np.lib.format.read_array_header_1_0 if version == 1 else np.lib.format.read_array_header_2_0
    try:
        shape, fortran_order, dtype = read(io.BytesIO(header))
    except Exception as error:  # it is a literal of Python, and parsing that can fail in any way
        raise UnreadableError(f"its header cannot be read ({reason(error)})") from error
    if dtype.hasobject:
        raise UnreadableError("Object arrays cannot be loaded, since they are Python objects; give numbers")
    if not _is_plain(dtype) or not 0 < dtype.itemsize <= MAX_ITEM or any(length < 0 for length in shape):
        raise UnreadableError(f"its header says {str(dtype)[:50]} {_shown(shape)}")
    if 0 in shape and math.prod(length or 1 for length in shape) > MAX_ITEM:
        raise UnreadableError(f"it has no values, but says {_shown(shape)}")
    return tuple(map(int, shape)), fortran_order, dtype


def _is_plain(dtype: np.dtype) -> bool:
    """Whether values are bytes that mean something by themselves, not references."""
    if dtype.names is not None:
        return all(_is_plain(dtype[name].base) for name in dtype.names)
    return dtype.subdtype is None and dtype.kind in "biufcSUmMV"


def _shown(shape: tuple[int, ...]) -> str:
    text = str(shape)
    return text if len(text) < 100 else f"{text[:100]}..."


def is_npz(path: pathlib.Path) -> bool:
    """Whether a file is a zip archive by its first bytes, whatever its name. Errors: UnreadableError."""
    with reading():
        size_of(path)
        with path.open("rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def read_npy(path: pathlib.Path, *, mapped: bool = False) -> np.ndarray:
    """The array of an .npy file; mapped: it stays on disk, read-only. Errors: UnreadableError."""
    with reading():
        size = size_of(path)
        with path.open("rb") as file:
            header = read_header(file, size)
            if mapped and header.num_bytes:
                order = "F" if header.fortran_order else "C"
                return np.memmap(path, header.dtype, "r", file.tell(), header.shape, order)  # type: ignore[call-overload]
            return _values(file, header)


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name. Errors: UnreadableError, also for a member that is no array."""
    with open_zip(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        return {name.removesuffix(".npy"): _member(archive, name) for name in names}


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    try:
        stream, size = open_member(archive, name)
        with stream:
            return _values(stream, read_header(stream, size))
    except UnreadableError as error:
        raise UnreadableError(f"{name[:50]} in it: {error}") from error


def _values(stream: BinaryIO, header: Header) -> np.ndarray:
    """The values that follow a header; a piece at a time is unpacked."""
    with reading():
        check_size(header.num_bytes)
        raw = np.empty(header.num_bytes, np.uint8)
        for start in range(0, header.num_bytes, _PIECE):
            wanted = raw[start : start + _PIECE]
            piece = stream.read(len(wanted))
            if len(piece) != len(wanted):
                raise UnreadableError("it ends too early")
            wanted[:] = np.frombuffer(piece, np.uint8)
        if header.dtype.kind == "U" and raw.view(header.dtype.str[0] + "u4").max(initial=0) > sys.maxunicode:
            raise UnreadableError("it has texts with characters that do not exist")
        order = "F" if header.fortran_order else "C"
        return raw.view(header.dtype).reshape(header.shape, order=order)  # type: ignore[call-overload]

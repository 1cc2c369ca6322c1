"""Files of unknown origin: one error for whatever is wrong with them, and bounds on what they unpack to."""

import contextlib
import gzip
import pathlib
import re
import tarfile
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from core.files import UNREADABLE, size_of
from core.memory import host_bytes, resident_bytes
from core.text import first_line

MODEST = 2**28  # bytes that anything may unpack to
RATIO = 100  # beyond that, what an archive unpacks to by its size: more than deflate reaches for images or measurements
_LONGEST = 150  # characters of a reason
_BLOCK = 512  # bytes of a header in a tar archive
_DIGITS = re.compile(rb"\d{256}")


class UnreadableError(ValueError):
    """A file is damaged or too large; the message is the reason, in which the file is called "it"."""


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Turns whatever a library raises for damage into its reason. Errors: UnreadableError."""
    try:
        yield
    except UnreadableError:
        raise
    except UNREADABLE as error:
        raise UnreadableError(reason(error)) from error


def reason(error: BaseException) -> str:
    """The first line of what an error says."""
    return (getattr(error, "strerror", None) or first_line(error))[:_LONGEST]


def check_size(num_bytes: int) -> None:
    """Errors: UnreadableError unless there is memory for `num_bytes` more."""
    if num_bytes <= MODEST:
        return
    held = resident_bytes()
    limit = host_bytes(held)
    if limit and num_bytes > limit - held:
        free = max(0, limit - held)
        raise UnreadableError(f"it takes {num_bytes / 2**30:,.1f} GiB of memory, but {free / 2**30:.1f} GiB are free")


def read_bytes(path: pathlib.Path) -> bytes:
    """The content of a file. Errors: UnreadableError, also for a pipe, and for more than there is memory for."""
    with reading():
        check_size(size_of(path))
        return path.read_bytes()


# Zip archives -----------------------------------------------------------------------------------------------------


def open_zip(path: pathlib.Path) -> zipfile.ZipFile:
    """A zip archive, whose members may be read: they unpack to at most `RATIO` times its size, or to `MODEST` bytes.

    Members are stored, or compressed by deflate, which unpacks piece by piece; other methods are refused, and so are
    members that share their bytes. Errors: UnreadableError.
    """
    with reading():
        size = size_of(path)
        archive = zipfile.ZipFile(path)
        try:
            _check_members(archive.infolist(), size)
        except UnreadableError:
            archive.close()
            raise
        return archive


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    other = [m.filename for m in members if m.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    if other:
        raise UnreadableError(f"{other[0][:_LONGEST]} in it is compressed by another method than deflate")
    strange = [
        m.filename for m in members if not m.filename or {"", ".."} & set(m.filename.removesuffix("/").split("/"))
    ]
    if strange:
        raise UnreadableError(f"it has a member {strange[0][:_LONGEST]!r}, a name that is none or leads outside")
    stored = sum(member.file_size for member in members if member.compress_type == zipfile.ZIP_STORED)
    total = sum(member.file_size for member in members)
    if stored > size:
        raise UnreadableError(f"it has {size:,} bytes, but says that {stored:,} are stored in it")
    if total > max(MODEST, RATIO * size):
        raise UnreadableError(
            f"it has {size:,} bytes and unpacks to {total:,}, more than {RATIO} times as many; store them without "
            "compression if they are what you want"
        )


def open_member(archive: zipfile.ZipFile, name: str) -> tuple[BinaryIO, int]:
    """A member of a zip archive of `open_zip`, to be read piece by piece, and its size. Errors: UnreadableError."""
    with reading():
        info = archive.getinfo(name)
        return archive.open(info), info.file_size  # type: ignore[return-value]


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The content of a member of a zip archive of `open_zip`. Errors: UnreadableError."""
    stream, size = open_member(archive, name)
    with stream, reading():
        check_size(size)
        content = stream.read(size)  # without a size, all that it unpacks to would be in memory, whatever it says
        if len(content) < size:
            raise UnreadableError("it ends too early")
        return content


# Tar archives -----------------------------------------------------------------------------------------------------


class _Bounded:
    """What `tarfile` reads of a stream: not more than `most` bytes, only forward, and no long numbers in headers.

    The headers of some archives have negative sizes, which lead it around in circles, or numbers of megabytes, which it
    looks at once for each digit.
    """

    def __init__(self, stream: BinaryIO, most: int):
        self._stream, self._most, self._last = stream, most, -1

    def read(self, size: int) -> bytes:
        """The next `size` bytes."""
        self._check(self._stream.tell() + size)
        content = self._stream.read(size)
        if size > _BLOCK and _DIGITS.search(content):
            raise UnreadableError("it has a header with a number of hundreds of digits")
        return content

    def seek(self, position: int) -> int:
        """Goes to a later position."""
        self._check(position)
        if position <= self._last:
            raise UnreadableError("its members overlap")
        self._last = position
        return self._stream.seek(position)

    def tell(self) -> int:
        """The position."""
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._most + _BLOCK:
            raise UnreadableError(f"it ends too early, or unpacks to more than {self._most:,} bytes")


def tar_members(stream: BinaryIO, most: int) -> Iterator[tarfile.TarInfo]:
    """The files in a tar archive; the content of one is the `size` bytes from `offset_data` of the stream.

    Nothing is unpacked; links and devices are left out. most: bytes that the archive may have.
    Errors: UnreadableError.
    """
    with reading(), tarfile.open(fileobj=_Bounded(stream, most), mode="r:") as archive:  # type: ignore[call-overload]
        for member in archive:
            if member.size < 0:
                raise UnreadableError("its members overlap")
            if member.issparse():
                raise UnreadableError(f"{member.name[:_LONGEST]} in it is a sparse file")
            if member.isreg():
                yield member


def read_part(stream: BinaryIO, offset: int, size: int, most: int = MODEST) -> bytes:
    """`size` bytes of a stream, not more than `most`. Errors: UnreadableError."""
    with reading():
        if size > most:
            raise UnreadableError(f"a file in it has {size:,} bytes, more than {most:,}")
        stream.seek(offset)
        content = stream.read(size)
        if len(content) < size:
            raise UnreadableError("it ends too early")
        return content


def unpacked(path: pathlib.Path) -> BinaryIO:
    """A file, decompressed where gzip has compressed it. Errors: UnreadableError."""
    with reading():
        size_of(path)
        with path.open("rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
        return gzip.open(path) if is_gzip else path.open("rb")  # type: ignore[return-value]

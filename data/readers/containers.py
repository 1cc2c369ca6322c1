"""Folders and zip archives behind one interface: which files they contain, and how one is opened."""

import dataclasses
import functools
import io
import os
import pathlib
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, NoReturn

from core.reading import UnreadableError, open_zip, read_member
from data.notices import some_of, warn_once


class Entry(NamedTuple):
    """A file below the root, as a path with slashes; its size in bytes; what changes when its contents do."""

    name: str
    size: int
    changed: int


@dataclasses.dataclass(frozen=True)
class Folder:
    """The files below a folder."""

    root: pathlib.Path

    def entries(self) -> Iterator[Entry]:
        """All files, in no particular order; links are followed, except to a folder that they are in.

        Errors: ValueError for a folder that cannot be read.
        """
        left_out = []
        for folder, inside, names in os.walk(self.root, onerror=_refuse, followlinks=True):
            here = pathlib.Path(folder)
            above = {_identity(parent) for parent in (here, *here.parents) if parent.is_relative_to(self.root)}
            inside[:] = [
                name for name in inside if not (here / name).is_symlink() or _identity(here / name) not in above
            ]
            for name in names:
                path = here / name
                if path.is_file():
                    info = path.stat()
                    yield Entry(path.relative_to(self.root).as_posix(), info.st_size, info.st_mtime_ns)
                elif not name.startswith("."):
                    left_out.append(f"{path} is {'a link to nothing' if path.is_symlink() else 'not a file'}")
        if left_out:
            warn_once(f"{some_of(sorted(left_out))} (left out)")

    def folders(self, below: str) -> list[str]:
        """The names of the folders directly below one."""
        return sorted(path.name for path in (self.root / below).iterdir() if path.is_dir())

    def open(self, name: str) -> BinaryIO:
        """A file, opened for reading."""
        return open(f"{self.root}/{name}", "rb")  # joining paths would take half as long again


@dataclasses.dataclass(frozen=True)
class Zip:
    """The files in a zip archive; each process opens it for itself."""

    root: pathlib.Path

    def entries(self) -> Iterator[Entry]:
        """All files, in no particular order."""
        for info in _opened(self.root).infolist():
            if not info.is_dir():
                yield Entry(info.filename, info.file_size, info.CRC)

    def folders(self, below: str) -> list[str]:
        """The names of the folders directly below one."""
        prefix = f"{below}/" if below else ""
        inside = [name.removeprefix(prefix) for name in _opened(self.root).namelist() if name.startswith(prefix)]
        return sorted({name.split("/")[0] for name in inside if "/" in name})

    def open(self, name: str) -> BinaryIO:
        """A file, opened for reading. Errors: OSError if it is damaged."""
        try:
            return io.BytesIO(read_member(_opened(self.root), name))
        except UnreadableError as error:
            raise OSError(str(error)) from error


Container = Folder | Zip


def _refuse(error: OSError) -> NoReturn:
    raise ValueError(f"{error.filename} cannot be read ({error.strerror}); make it readable, or remove it.") from error


def _identity(folder: pathlib.Path) -> tuple[int, int]:
    """What tells a folder from others, whatever links lead to it."""
    info = folder.stat()
    return info.st_dev, info.st_ino


@functools.lru_cache(maxsize=4)
def _opened(path: pathlib.Path) -> zipfile.ZipFile:
    try:
        return open_zip(path)
    except UnreadableError as error:
        raise ValueError(f"{path} cannot be read as a zip archive ({error}); create it again.") from error

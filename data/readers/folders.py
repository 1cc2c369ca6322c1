"""Folders and zip archives of pictures that a user gives: what is in them, their splits and classes, and a `Source`.

Splits are the sub-folders train and test where there are both; otherwise every k-th file in sorted order is a test
image. Classes are sub-folders, where all pictures lie in some. Which file is example i is a function of the files
alone: what cannot be read is refused, or left out when the index is made; a picture that turns out to be broken only
when it is decoded is replaced by the next one that is not, which again is a function of the files.
"""

import dataclasses
import functools
import hashlib
import io
import itertools
import logging
import pathlib
import zipfile
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from data import images
from data.files import PICTURES
from data.images import Form, Header
from data.readers import records
from data.source import CACHE_BYTES, Examples, Reading, Source, cached, in_split

PASSED_OVER = ("thumbs.db", "desktop.ini", "__macosx")  # what operating systems leave; and names with a dot in front
SPLITS = ("train", "test")


class Entry(NamedTuple):
    """A file below the root, as a path with slashes; its size in bytes and what tells that it has changed."""

    name: str
    size: int
    changed: int


@dataclasses.dataclass(frozen=True)
class Folder:
    """The files below a folder."""

    root: pathlib.Path

    def entries(self) -> Iterator[Entry]:
        """All files, in no order."""
        for path in self.root.rglob("*"):
            if path.is_file():
                info = path.stat()
                yield Entry(path.relative_to(self.root).as_posix(), info.st_size, info.st_mtime_ns)

    def folders(self, below: str) -> list[str]:
        """The names of the folders right below one."""
        return sorted(path.name for path in (self.root / below).iterdir() if path.is_dir())

    def open(self, name: str) -> BinaryIO:
        """A file, to be read."""
        return open(f"{self.root}/{name}", "rb")  # a path takes half as long again


@dataclasses.dataclass(frozen=True)
class Zip:
    """The files in a zip archive; each process opens it for itself."""

    root: pathlib.Path

    def entries(self) -> Iterator[Entry]:
        """All files, in no order."""
        for info in _opened(self.root).infolist():
            if not info.is_dir():
                yield Entry(info.filename, info.file_size, info.CRC)

    def folders(self, below: str) -> list[str]:
        """The names of the folders right below one."""
        prefix = f"{below}/" if below else ""
        inside = [name.removeprefix(prefix) for name in _opened(self.root).namelist() if name.startswith(prefix)]
        return sorted({name.split("/")[0] for name in inside if "/" in name})

    def open(self, name: str) -> BinaryIO:
        """A file, to be read. Errors: OSError for one that is damaged."""
        try:
            return io.BytesIO(_opened(self.root).read(name))
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise OSError(str(error)) from error


@functools.lru_cache(maxsize=4)
def _opened(path: pathlib.Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path} cannot be read as a zip archive ({images.reason(error)}); make it anew.") from error


class Index(NamedTuple):
    """The pictures of a split in order, their classes, and what they are brought to."""

    names: tuple[str, ...]
    labels: np.ndarray  # int32 [N]
    class_names: tuple[str, ...]
    form: Form


@dataclasses.dataclass(frozen=True)
class Pictures:
    """A `fetch` that reads and decodes pictures one by one."""

    files: Folder | Zip
    index: Index
    skip: bool

    def __call__(self, indices: np.ndarray) -> Examples:
        """The examples `indices` [n]. Errors: ValueError that names the file which cannot be read."""
        form = self.index.form
        x = np.empty((len(indices), form.height, form.width, form.channels), form.dtype)
        labels = np.empty(len(indices), np.int32)
        for row, index in enumerate(indices):
            position, x[row] = self.picture(int(index))
            labels[row] = self.index.labels[position]
        return {"x": x, "label": labels}

    def picture(self, index: int) -> tuple[int, np.ndarray]:
        """Picture `index`, or the next that can be decoded where broken ones are skipped; and which it is."""
        names = self.index.names
        for position in itertools.chain(range(index, len(names)), range(index)):
            try:
                with self.files.open(names[position]) as raw:
                    return position, images.decode(raw, self.index.form)
            except images.ERRORS as error:
                failure = _broken(self.files, names[position], error)
                if not self.skip:
                    raise failure from error
                _tell_once(f"{failure} (skipped: the next one takes its place)")
        raise ValueError(f"{self.files.root} has no picture that can be decoded; give others.")


def open_folder(given: str, split: str, reading: Reading) -> Source:
    """The split of a folder of pictures. Errors: FileNotFoundError, ValueError that name the file."""
    path = pathlib.Path(given)
    if not path.is_dir():
        raise FileNotFoundError(
            f"the folder {path} does not exist; config.data.dataset must name a folder of pictures."
        )
    return _source(f"folder:{given}", Folder(path), split, reading)


def open_zip(given: str, split: str, reading: Reading) -> Source:
    """The split of a zip archive of pictures. Errors: FileNotFoundError, ValueError that name the file."""
    path = pathlib.Path(given)
    if not path.is_file():
        raise FileNotFoundError(f"the file {path} does not exist; config.data.dataset must name a zip archive.")
    return _source(f"zip:{given}", Zip(path), split, reading)


def _source(name: str, files: Folder | Zip, split: str, reading: Reading) -> Source:
    entries = tuple(sorted(files.entries()))
    index = _index(files, entries, split, reading)
    fetch = Pictures(files, index, skip=reading.on_corrupt == "skip")
    form = index.form
    shape = (form.height, form.width, form.channels)
    levels = 2**8 if form.dtype == "uint8" else 2**16
    num_classes = len(index.class_names)
    source = Source(name, len(index.names), shape, levels, num_classes, fetch, form.dtype, index.class_names)
    if reading.cache_dir:
        key = hashlib.sha256(repr((entries, split, index.names, index.form)).encode()).hexdigest()[:16]
        return records.cached_on_disk(source, pathlib.Path(reading.cache_dir) / f"{files.root.stem}-{split}-{key}")
    return cached(source) if source.num_bytes <= CACHE_BYTES else source


@functools.lru_cache(maxsize=4)  # train and test, and the shape before them, look at the same files
def _index(files: Folder | Zip, entries: tuple[Entry, ...], split: str, reading: Reading) -> Index:
    """Errors: ValueError, FileNotFoundError for what is not there, is no picture, or fits no rule."""
    skip = reading.on_corrupt == "skip"
    found = _pictures(files, entries, skip)
    headers, names = _headers(files, found, skip), [entry.name for entry in found]
    below, chosen = _split(files, names, split, reading.test_every)
    class_names = _classes(files, below, chosen)
    kept = [name for name in chosen if name in headers]
    if not kept:
        raise ValueError(
            f"{files.root} has {len(headers)} picture(s), none of them in the {split} split; give more, or set "
            "config.data.test_every = 0 to use all of them for both."
        )
    labels = [class_names.index(_class(name, below)) if class_names else 0 for name in kept]
    for label, class_name in enumerate(class_names):
        if label not in labels and split == "train":
            raise _empty_class(files, below, class_name)
    return Index(tuple(kept), np.array(labels, np.int32), class_names, _form(files, headers, reading))


def _pictures(files: Folder | Zip, entries: Sequence[Entry], skip: bool) -> tuple[Entry, ...]:
    """Those that are pictures. Errors: ValueError for another file, unless they are skipped; or where there is none."""
    found = []
    for entry in entries:
        if any(_is_passed_over(part) for part in entry.name.split("/")):
            continue
        if entry.name.lower().endswith(PICTURES):
            found.append(entry)
        elif skip:
            _tell_once(f"{files.root / entry.name} is no picture (skipped)")
        else:
            raise ValueError(
                f"{files.root / entry.name} is not a picture ({', '.join(PICTURES)}); remove it, or set "
                "config.data.on_corrupt = 'skip'."
            )
    if not found:
        raise FileNotFoundError(
            f"{files.root} has no {', '.join(PICTURES)} file; give a folder or archive of pictures."
        )
    return tuple(found)


@functools.lru_cache(maxsize=2)
def _headers(files: Folder | Zip, entries: tuple[Entry, ...], skip: bool) -> dict[str, Header]:
    """What each picture's header says, those left out that cannot be read. Errors: ValueError, unless skipped."""
    found = {}
    for name, _, _ in entries:
        try:
            with files.open(name) as raw:
                found[name] = images.header(raw)
        except images.ERRORS as error:
            failure = _broken(files, name, error)
            if not skip:
                raise failure from error
            _tell_once(f"{failure} (skipped)")
    return found


def _split(files: Folder | Zip, names: Sequence[str], split: str, test_every: int) -> tuple[str, list[str]]:
    """The folder below which the split lies, and its pictures. Broken ones count, so that they move no other."""
    folders = [folder for folder in SPLITS if any(name.startswith(f"{folder}/") for name in names)]
    if len(folders) == 2:
        return split, [name for name in names if name.startswith(f"{split}/")]
    if folders and all(name.startswith(f"{folders[0]}/") for name in names):
        missing = "test" if folders == ["train"] else "train"
        raise ValueError(
            f"{files.root} has a folder {folders[0]} but no pictures in a folder {missing}; add them, or give "
            f"{files.root / folders[0]} itself, of which every config.data.test_every-th picture is for testing."
        )
    return "", [names[i] for i in in_split(len(names), split, test_every)]


def _classes(files: Folder | Zip, below: str, names: Sequence[str]) -> tuple[str, ...]:
    """The sub-folders, where all pictures lie in one of at least two. Errors: ValueError for an empty one."""
    inside = [_class(name, below) for name in names]
    if not inside or not all(inside):
        return ()
    folders = [name for name in files.folders("train" if below else "") if not _is_passed_over(name)]
    for name in sorted(set(inside) - set(folders)):
        raise ValueError(
            f"{files.root / below / name} is a class of which {files.root / 'train'} has no folder; add it."
        )
    return tuple(folders) if len(folders) > 1 else ()


def _class(name: str, below: str) -> str:
    """The first folder on the way to a picture, or nothing."""
    first, slash, _ = name.removeprefix(f"{below}/" if below else "").partition("/")
    return first if slash else ""


def _form(files: Folder | Zip, headers: dict[str, Header], reading: Reading) -> Form:
    """What pictures are brought to. Errors: ValueError for several sizes or depths that no rule makes one."""
    by_dtype = {header.dtype: name for name, header in headers.items()}
    if len(by_dtype) > 1:
        raise ValueError(
            f"{files.root / by_dtype['uint16']} has 16 bits and {files.root / by_dtype['uint8']} 8; give pictures of "
            "one depth."
        )
    channels = max(header.channels for header in headers.values())
    (dtype,) = by_dtype
    if reading.resize:
        height, width = reading.shape[:2] if len(reading.shape) > 1 else (reading.image_size,) * 2
        return Form(height, width, channels, dtype, reading.resize)
    by_size = {(header.height, header.width): name for name, header in reversed(headers.items())}
    if len(by_size) > 1:
        (first, one), (second, other) = list(by_size.items())[-1], next(iter(by_size.items()))
        raise ValueError(
            f"{files.root / one} is {first[0]}x{first[1]}, but {files.root / other} is {second[0]}x{second[1]}; set "
            "config.data.resize to crop or stretch, and config.data.image_size."
        )
    ((height, width),) = by_size
    return Form(height, width, channels, dtype, None)


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name.lower() in PASSED_OVER


def _empty_class(files: Folder | Zip, below: str, name: str) -> ValueError:
    return ValueError(
        f"the class {name} ({files.root / below / name}) has no picture to train on; add some, or remove the folder."
    )


def _broken(files: Folder | Zip, name: str, error: Exception) -> ValueError:
    return ValueError(
        f"{files.root / name} cannot be read as a picture ({images.reason(error)}); replace it, or set "
        "config.data.on_corrupt = 'skip'."
    )


@functools.lru_cache(maxsize=10_000)
def _tell_once(message: str) -> None:
    logging.warning("%s", message)

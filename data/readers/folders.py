"""Folders and zip archives of a user's images: which files they contain, their splits and classes, and a `Source`.

The splits are the subfolders train and test, in any case, if both exist, where val, valid or validation stands for a
missing test; otherwise every k-th file in sorted order is a test image.
The classes are subfolders, if every image is in one; tables may give other fields (`data.readers.metadata`). Which file
is example i depends on the files alone: a file that cannot be read is refused, or left out of the index; an image that
turns out to be broken only when it is decoded is replaced by the next intact one, which again depends on the files
alone.
"""

import dataclasses
import functools
import hashlib
import itertools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.progress import each
from data import images
from data.fields import Field
from data.images import SUFFIXES, Format, Header
from data.readers import records
from data.readers.containers import Container, Entry, Folder, Zip
from data.readers.metadata import Metadata, is_table, read_metadata
from data.notices import warn_once
from data.source import CACHE_BYTES, Examples, Reading, Source, cached, in_split

IGNORED = ("thumbs.db", "desktop.ini", "__macosx")  # left by operating systems, as are names that start with a dot
SPLITS = {"train": "train", "test": "test", **dict.fromkeys(("val", "valid", "validation"), "validation")}


class Index(NamedTuple):
    """The images of a split in order, their fields other than x, and the format that they are decoded to."""

    names: tuple[str, ...]
    others: Metadata
    format: Format


@dataclasses.dataclass(frozen=True)
class ImageFiles:
    """A `fetch` that reads and decodes images one by one."""

    files: Container
    index: Index
    skip: bool

    def __call__(self, indices: np.ndarray) -> Examples:
        """The examples `indices` [n]. Errors: ValueError that names the file that cannot be read."""
        target = self.index.format
        x = np.empty((len(indices), target.height, target.width, target.channels), target.dtype)
        positions = np.empty(len(indices), np.int64)
        for row, index in enumerate(indices):
            positions[row], x[row] = self.decode(int(index))
        return {"x": x} | {name: values[positions] for name, values in self.index.others.values.items()}

    def decode(self, index: int) -> tuple[int, np.ndarray]:
        """(position, pixels) of image `index`, or of the next one that can be decoded if broken ones are skipped."""
        names = self.index.names
        for position in itertools.chain(range(index, len(names)), range(index)):
            try:
                with self.files.open(names[position]) as raw:
                    return position, images.decode(raw, self.index.format)
            except images.ERRORS as error:
                failure = _broken(self.files, names[position], error)
                if not self.skip:
                    raise failure from error
                warn_once(f"{failure} (skipped: the next one takes its place)")
        raise ValueError(f"{self.files.root} has no image that can be decoded; give others.")


def open_folder(given: str, split: str, reading: Reading) -> Source:
    """The split of a folder of images. Errors: FileNotFoundError, ValueError that name the file."""
    path = pathlib.Path(given)
    if not path.is_dir():
        raise FileNotFoundError(f"the folder {path} does not exist; config.data.dataset must name a folder of images.")
    return _source(f"folder:{given}", Folder(path), split, reading)


def open_zip(given: str, split: str, reading: Reading) -> Source:
    """The split of a zip archive of images. Errors: FileNotFoundError, ValueError that name the file."""
    path = pathlib.Path(given)
    if not path.is_file():
        raise FileNotFoundError(f"the file {path} does not exist; config.data.dataset must name a zip archive.")
    return _source(f"zip:{given}", Zip(path), split, reading)


def _source(name: str, files: Container, split: str, reading: Reading) -> Source:
    entries = tuple(sorted(files.entries()))
    index = _index(files, entries, split, reading)
    fetch = ImageFiles(files, index, skip=reading.on_corrupt == "skip")
    height, width, channels, dtype, *_ = index.format
    x = Field((height, width, channels), dtype, 2**8 if dtype == "uint8" else 2**16)
    source = Source(name, len(index.names), {"x": x, **index.others.fields}, fetch)
    if reading.cache_dir:
        further = [dict(index.others.fields)] if len(index.others.fields) > 1 else []  # none in earlier versions
        key = hashlib.sha256(repr((entries, split, index.names, index.format, *further)).encode()).hexdigest()[:16]
        return records.cached_on_disk(source, pathlib.Path(reading.cache_dir) / f"{files.root.stem}-{split}-{key}")
    return cached(source) if source.num_bytes <= CACHE_BYTES else source


@functools.lru_cache(maxsize=4)  # both splits, and the query for the shape before them, look at the same files
def _index(files: Container, entries: tuple[Entry, ...], split: str, reading: Reading) -> Index:
    """Errors: ValueError, FileNotFoundError for files that are missing, not images, or fit no rule."""
    skip = reading.on_corrupt == "skip"
    found = _images(files, entries, skip)
    headers, names = _headers(files, found, skip), [entry.name for entry in found]
    below, chosen = _split(files, names, split, reading.test_every)
    kept = [name for name in chosen if name in headers]
    if not kept:
        raise ValueError(
            f"{files.root} has {len(headers)} image(s), none of them in the {split} split; give more, or set "
            "config.data.test_every = 0 to use all of them for both."
        )
    others = read_metadata(files, entries, names).of(kept)
    if "label" not in others.fields:
        train = _split_folders(files, names).get("train", "")
        label, labels = _labels(files, train, below, chosen, kept, split)
        others = Metadata(kept, {"label": label, **others.fields}, {"label": labels, **others.values})
    return Index(tuple(kept), others, _format(files, headers, reading))


def _labels(
    files: Container, train: str, below: str, chosen: Sequence[str], kept: Sequence[str], split: str
) -> tuple[Field, np.ndarray]:
    """The classes of the images `kept` by their subfolders, [N]. Errors: ValueError for a class without images."""
    class_names = _classes(files, train, below, chosen)
    labels = [class_names.index(_class(name, below)) if class_names else 0 for name in kept]
    for label, class_name in enumerate(class_names):
        if label not in labels and split == "train":
            raise _empty_class(files, below, class_name)
    field = Field((), "int32", num_classes=len(class_names), class_names=class_names)
    return field, np.array(labels, np.int32)


def _images(files: Container, entries: Sequence[Entry], skip: bool) -> tuple[Entry, ...]:
    """The entries that are images. Errors: ValueError for another file, unless it is skipped; or if none is left."""
    found = []
    for entry in entries:
        if any(_is_ignored(part) for part in entry.name.split("/")) or is_table(entry.name):
            continue
        if entry.name.lower().endswith(SUFFIXES):
            found.append(entry)
        elif skip:
            warn_once(f"{files.root / entry.name} is not an image (skipped)")
        else:
            raise ValueError(
                f"{files.root / entry.name} is not an image ({', '.join(SUFFIXES)}); remove it, or set "
                "config.data.on_corrupt = 'skip'."
            )
    if not found:
        raise FileNotFoundError(f"{files.root} has no {', '.join(SUFFIXES)} file; give a folder or archive of images.")
    return tuple(found)


@functools.lru_cache(maxsize=2)
def _headers(files: Container, entries: tuple[Entry, ...], skip: bool) -> dict[str, Header]:
    """The header of each image that can be read. Errors: ValueError for one that cannot, unless it is skipped."""
    found = {}
    for name, _, _ in each(entries, "reading the headers of images", len(entries), "image"):
        try:
            with files.open(name) as raw:
                found[name] = images.read_header(raw)
        except images.ERRORS as error:
            failure = _broken(files, name, error)
            if not skip:
                raise failure from error
            warn_once(f"{failure} (skipped)")
    return found


def _split_folders(files: Container, names: Sequence[str]) -> dict[str, str]:
    """The folders of the splits train and test, if there are both. Errors: ValueError where one of them is missing."""
    first = dict.fromkeys(name.partition("/")[0] for name in names if "/" in name)
    roles = {SPLITS[folder.lower()]: folder for folder in first if folder.lower() in SPLITS}
    given = {"train": roles.get("train"), "test": roles.get("test", roles.get("validation"))}
    found = {split: folder for split, folder in given.items() if folder is not None}
    if len(found) == 2 and "test" in roles and "validation" in roles:
        warn_once(f"{files.root / roles['validation']} is not used: {files.root / roles['test']} has the test images")
    if len(found) == 1 and len(first) == 1 and all("/" in name for name in names):
        ((split, folder),) = found.items()
        raise ValueError(
            f"{files.root} has a folder {folder} but no images in a folder {'test' if split == 'train' else 'train'}; "
            f"add them, or give {files.root / folder} itself, whose every config.data.test_every-th image is then a "
            "test image."
        )
    return found if len(found) == 2 else {}


def _split(files: Container, names: Sequence[str], split: str, test_every: int) -> tuple[str, list[str]]:
    """The folder that contains the split, and its images; broken ones count, so that the others keep their split."""
    folders = _split_folders(files, names)
    if not folders:
        return "", [names[i] for i in in_split(len(names), split, test_every)]
    below = folders[split]
    for name in names:
        if SPLITS.get(name.partition("/")[0].lower()) is None:
            warn_once(f"{files.root / name} is in no split: the others are in {' and '.join(folders.values())}")
    return below, [name for name in names if name.startswith(f"{below}/")]


def _classes(files: Container, train: str, below: str, names: Sequence[str]) -> tuple[str, ...]:
    """The subfolders, if there are at least two and every image is in one. Errors: ValueError for an unknown class.

    train, below: the folders of the training images and of the split.
    """
    inside = [_class(name, below) for name in names]
    if len(set(inside) - {""}) > 1 and not all(inside):
        stray = files.root / names[inside.index("")]
        warn_once(f"{stray} lies beside folders with images, so that these are no classes; move it into one of them")
    if not inside or not all(inside):
        return ()
    folders = [name for name in files.folders(train) if not _is_ignored(name)]
    for name in sorted(set(inside) - set(folders)):
        raise ValueError(f"{files.root / below / name} is a class without a folder in {files.root / train}; add it.")
    return tuple(folders) if len(folders) > 1 else ()


def _class(name: str, below: str) -> str:
    """The first folder on the path of an image, or an empty string."""
    first, slash, _ = name.removeprefix(f"{below}/" if below else "").partition("/")
    return first if slash else ""


def _format(files: Container, headers: dict[str, Header], reading: Reading) -> Format:
    """The format of all images. Errors: ValueError for several sizes or depths that no setting reconciles."""
    by_dtype = {header.dtype: name for name, header in headers.items()}
    if len(by_dtype) > 1:
        raise ValueError(
            f"{files.root / by_dtype['uint16']} has 16 bits and {files.root / by_dtype['uint8']} 8; give images of "
            "one depth."
        )
    channels = max(header.channels for header in headers.values())
    (dtype,) = by_dtype
    if reading.resize:
        height, width = reading.shape[:2] if len(reading.shape) > 1 else (reading.image_size,) * 2
        return Format(height, width, channels, dtype, reading.resize, reading.background)
    by_size = {(header.height, header.width): name for name, header in reversed(headers.items())}
    if len(by_size) > 1:
        (first, one), (second, other) = list(by_size.items())[-1], next(iter(by_size.items()))
        raise ValueError(
            f"{files.root / one} is {first[0]}x{first[1]}, but {files.root / other} is {second[0]}x{second[1]}; set "
            "config.data.resize to crop or stretch, and config.data.image_size."
        )
    ((height, width),) = by_size
    return Format(height, width, channels, dtype, None, reading.background)


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in IGNORED


def _empty_class(files: Container, below: str, name: str) -> ValueError:
    return ValueError(
        f"the class {name} ({files.root / below / name}) has no training images; add some, or remove the folder."
    )


def _broken(files: Container, name: str, error: Exception) -> ValueError:
    return ValueError(
        f"{files.root / name} cannot be read as an image ({images.reason(error)}); replace it, or set "
        "config.data.on_corrupt = 'skip'."
    )

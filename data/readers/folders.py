"""Folders and zip archives of a user's images: which files they contain, their splits and classes, and a `Source`.

The splits are the subfolders train and test, in any case, if both exist, where val, valid or validation stands for a
missing test; otherwise every k-th file in sorted order is a test image.
The classes are subfolders, if every image is in one; tables may give other fields (`data.readers.metadata`), and
`data.readers.captions` the texts of images. Which file is example i depends on the files alone
(`data.readers.image_files`).
"""

import functools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.fields import Field
from data.images import SUFFIXES
from data.notices import warn_once
from data.readers.captions import captions_among, read_captions
from data.readers.containers import Container, Entry, Folder, Zip
from data.readers.image_files import Index, format_of, image_source, read_headers, report_skipped, some_in
from data.readers.metadata import Metadata, is_table, read_metadata
from data.source import Reading, Source, if_needed, in_split

IGNORED = ("thumbs.db", "desktop.ini", "__macosx")  # left by operating systems, as are names that start with a dot
SPLITS = {"train": "train", "test": "test", **dict.fromkeys(("val", "valid", "validation"), "validation")}


class Classes(NamedTuple):
    """The names of the classes, and the class of each image [N]."""

    names: tuple[str, ...]
    labels: np.ndarray


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
    return image_source(name, files, _index(files, entries, split, reading), entries, split, reading)


@functools.lru_cache(maxsize=4)  # both splits, and the query for the shape before them, look at the same files
def _index(files: Container, entries: tuple[Entry, ...], split: str, reading: Reading) -> Index:
    """Errors: ValueError, FileNotFoundError for files that are missing, not images, or fit no rule."""
    skip = reading.on_corrupt == "skip"
    names, others = _images(files, entries, skip)
    headers, broken = read_headers(files, names, entries, skip, reading.max_pixels)
    report_skipped(files, {**dict.fromkeys(others, "not an image"), **broken})
    below, chosen = _split(files, names, split, reading.test_every)
    kept = some_in(files, headers, chosen, split)
    metadata = read_metadata(files, entries, names, reading).of(kept)
    if "label" not in metadata.fields:
        train = _split_folders(files, names).get("train", "")
        none = Classes((), np.zeros(len(kept), np.int32))
        found = if_needed(reading, lambda: _labels(files, train, below, chosen, kept, split), none)
        field = Field((), "int32", num_classes=len(found.names), class_names=found.names)
        metadata = Metadata(kept, {"label": field, **metadata.fields}, {"label": found.labels, **metadata.values})
    texts = read_captions(files, entries, names, reading.text_length).of(kept)
    metadata = Metadata(kept, {**metadata.fields, **texts.fields}, {**metadata.values, **texts.values})
    return Index(tuple(kept), metadata, format_of(files, headers, reading))


def _labels(
    files: Container, train: str, below: str, chosen: Sequence[str], kept: Sequence[str], split: str
) -> Classes:
    """The classes of the images `kept` by their subfolders. Errors: ValueError for a class without images."""
    class_names = _classes(files, train, below, chosen)
    labels = [class_names.index(_class(name, below)) if class_names else 0 for name in kept]
    for label, class_name in enumerate(class_names):
        if label not in labels and split == "train":
            raise _empty_class(files, below, class_name)
    return Classes(class_names, np.array(labels, np.int32))


def _images(files: Container, entries: Sequence[Entry], skip: bool) -> tuple[tuple[str, ...], list[str]]:
    """The entries that are images, and the others, which are left out if they are skipped.

    Errors: ValueError for another one, unless it is skipped; FileNotFoundError if there are no images.
    """
    found, others = list[str](), list[str]()
    for entry in entries:
        if any(_is_ignored(part) for part in entry.name.split("/")) or is_table(entry.name):
            continue
        (found if entry.name.lower().endswith(SUFFIXES) else others).append(entry.name)
    texts = set(captions_among(others, found))
    others = [name for name in others if name not in texts]
    if others and not skip:
        raise ValueError(
            f"{files.root / others[0]} is not an image ({', '.join(SUFFIXES)}); remove it, or set "
            "config.data.on_corrupt = 'skip'."
        )
    if not found:
        raise FileNotFoundError(f"{files.root} has no {', '.join(SUFFIXES)} file; give a folder or archive of images.")
    return tuple(found), others


def _split_folders(files: Container, names: Sequence[str]) -> dict[str, str]:
    """The folders of the splits train and test, if there are both. Errors: ValueError where one of them is missing."""
    first = dict.fromkeys(name.partition("/")[0] for name in names if "/" in name)
    roles: dict[str, str] = {}
    for folder in first:
        role = SPLITS.get(folder.lower())
        if role in roles:
            raise ValueError(
                f"{files.root} has folders {roles[role]} and {folder}, which mean the same split; rename or join them."
            )
        if role is not None:
            roles[role] = folder
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


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in IGNORED


def _empty_class(files: Container, below: str, name: str) -> ValueError:
    return ValueError(
        f"the class {name} ({files.root / below / name}) has no training images; add some, or remove the folder."
    )

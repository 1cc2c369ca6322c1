"""Data sets of images in several files with many examples each: which file is in which split, and what is an example.

A file is in the split that a part of its path below the root names, such as `train-00000-of-00002.parquet` or
`test/0001.tar`; validation stands for a missing test. Where train or test is missing, every k-th example is a test
example.
"""

import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data.fields import RESERVED, Field, field_of, fields_of
from data.notices import warn_once
from data.readers.folders import SPLITS
from data.readers.image_files import Files, Index, format_of, read_headers, report_skipped, some_in
from data.readers.metadata import Metadata
from data.source import Reading, if_needed, in_split


class Examples(NamedTuple):
    """The image of each example, by name, in all shards, its shard, and the other columns [N] of all."""

    names: tuple[str, ...]
    shards: tuple[str, ...]
    columns: Mapping[str, np.ndarray | None]  # None: texts that are too long for an array
    class_names: tuple[str, ...] = ()  # of the column label


def origin_of(paths: Sequence[pathlib.Path]) -> tuple:
    """What changes when the files do."""
    return tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths)


def index_of(
    files: Files, examples: Examples, where: Callable[[int], str], origin: tuple, split: str, reading: Reading
) -> Index:
    """The images of a split, and their fields. where: what example i is called.

    Errors: ValueError for images, classes or fields that cannot be used.
    """
    names, num = examples.names, len(examples.names)
    headers, broken = read_headers(files, names, origin, reading.on_corrupt == "skip", reading.max_pixels)
    report_skipped(files, broken)
    rows = _rows(examples.shards, split, reading.test_every)
    root: str = origin[0][0] if len(origin) == 1 else str(files.root)  # of one file its own name
    kept = some_in(files, headers, [names[row] for row in rows], split, root)
    columns = dict[str, np.ndarray | None]()
    for name, array in examples.columns.items():
        if name in ("x", *RESERVED):
            warn_once(f"{name} of {root} is left out: batches use this name themselves")
        elif name != "label":
            signed = array is not None and array.dtype.kind == "i" and array.min() < 0
            columns[name] = array.astype(np.float32) if array is not None and signed else array
    none = (Field((), "int32"), np.zeros(num, np.int32))
    label, labels = if_needed(reading, lambda: _label(root, examples) or none, none)
    fields, values = fields_of(root, columns, num, where)
    metadata = Metadata(names, {"label": label, **fields}, {"label": labels, **values})
    return Index(tuple(kept), metadata.of(kept), format_of(files, headers, reading))


def _label(root: str, examples: Examples) -> tuple[Field, np.ndarray] | None:
    """The classes; None where there is no column label. Errors: ValueError for one that has no classes."""
    if "label" not in examples.columns:
        return None
    labels = examples.columns["label"]
    found = None if labels is None else field_of(root, "label", labels)
    known = len(examples.class_names)
    if found is None or not found[0].num_classes or 0 < known < found[0].num_classes:
        raise ValueError(f"the column label of {root} has no classes; number them from 0, or name it otherwise.")
    field = Field((), "int32", num_classes=known, class_names=examples.class_names) if known else found[0]
    return field, found[1]


def _rows(shards: Sequence[str], split: str, test_every: int) -> np.ndarray:
    """The examples [n] of a split."""
    roles = {shard: _role(shard) for shard in dict.fromkeys(shards)}
    given = set(roles.values())
    held_out = "test" if "test" in given else "validation"
    if not {"train", held_out} <= given:
        return in_split(len(shards), split, test_every)
    for shard, role in roles.items():
        if role not in ("train", held_out):
            warn_once(f"{shard} is not used: others are for training and testing")
    wanted = "train" if split == "train" else held_out
    return np.array([row for row, shard in enumerate(shards) if roles[shard] == wanted])


def _role(shard: str) -> str | None:
    """The split that a part of a path names: the last one."""
    words = re.split(r"[^a-z]+", shard.lower())
    return next((SPLITS[word] for word in reversed(words) if word in SPLITS), None)

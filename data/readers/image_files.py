"""Image files of any origin as a `Source`: what their headers say, the one format of all, and how each is decoded.

Which file is example i depends on the files alone: a file whose header cannot be read is refused, or left out of the
index; an image that turns out to be broken only when it is decoded is replaced by the next intact one, which again
depends on the files alone.
"""

import dataclasses
import functools
import hashlib
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np

from core.progress import each
from core.text import first_line
from data import images
from data.fields import Field
from data.images import Format, Header
from data.notices import some_of, warn_once
from data.readers import records
from data.readers.metadata import Metadata
from data.source import CACHE_BYTES, Examples, Reading, Source, cached

DTYPES = {2**8: "uint8", 2**16: "uint16"}  # by the number of levels


class Files(Protocol):
    """Files by name; messages name one as `root`/name. Each process opens them for itself."""

    @property
    def root(self) -> pathlib.Path:
        """What contains them."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A file, opened for reading. Errors: OSError."""
        ...

    def __hash__(self) -> int: ...


class Index(NamedTuple):
    """The images of a split in order, their fields other than x, and the format that they are decoded to."""

    names: tuple[str, ...]
    others: Metadata
    format: Format


class Found(NamedTuple):
    """The headers of images by name, and of those that cannot be read, why."""

    headers: Mapping[str, Header]
    broken: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class ImageFiles:
    """A `fetch` that reads and decodes images one by one."""

    files: Files
    index: Index
    skip: bool
    max_pixels: int

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
                    return position, images.decode(raw, self.index.format, self.max_pixels)
            except images.ERRORS as error:
                failure = _broken(self.files, names[position], first_line(error))
                if not self.skip:
                    raise failure from error
                warn_once(
                    f"{failure} (skipped: the next one takes its place; further ones are not listed)",
                    f"{self.files.root} decoded",
                )
        raise ValueError(f"{self.files.root} has no image that can be decoded; give others.")


def image_source(name: str, files: Files, index: Index, origin: tuple, split: str, reading: Reading) -> Source:
    """The source of the images of an index; origin: what changes when the files do."""
    fetch = ImageFiles(files, index, skip=reading.on_corrupt == "skip", max_pixels=reading.max_pixels)
    height, width, channels, dtype, *_ = index.format
    x = Field((height, width, channels), dtype, 2**8 if dtype == "uint8" else 2**16)
    source = Source(name, len(index.names), {"x": x, **index.others.fields}, fetch)
    if reading.cache_dir:
        further = [dict(index.others.fields)] if len(index.others.fields) > 1 else []  # none in earlier versions
        key = hashlib.sha256(repr((origin, split, index.names, index.format, *further)).encode()).hexdigest()[:16]
        return records.cached_on_disk(source, pathlib.Path(reading.cache_dir) / f"{files.root.stem}-{split}-{key}")
    return cached(source) if source.num_bytes <= CACHE_BYTES else source


@functools.lru_cache(maxsize=2)  # both splits, and the query for the shape before them, look at the same files
def read_headers(files: Files, names: tuple[str, ...], origin: tuple, skip: bool, max_pixels: int) -> Found:
    """The headers of images; origin: what changes when the files do, so that they are then read again.

    Errors: ValueError for one that cannot be read, unless it is skipped.
    """
    del origin
    headers, broken = {}, {}
    for name in each(names, "reading the headers of images", len(names), "image"):
        try:
            with files.open(name) as raw:
                headers[name] = images.read_header(raw, max_pixels)
        except images.ERRORS as error:
            broken[name] = first_line(error)
            if not skip:
                raise _broken(files, name, broken[name]) from error
    return Found(headers, broken)


def report_skipped(files: Files, reasons: Mapping[str, str]) -> None:
    """One line in the log about all files that are left out, by name."""
    if reasons:
        listed = some_of([f"{name} ({reason})" for name, reason in reasons.items()])
        warn_once(f"{len(reasons)} file(s) of {files.root} are skipped: {listed}")


def format_of(files: Files, headers: Mapping[str, Header], reading: Reading) -> Format:
    """The format of all images. Errors: ValueError for several sizes or depths that no setting reconciles."""
    dtype = _dtype(files, headers, reading.num_levels)
    channels = max(header.channels for header in headers.values())
    if reading.resize:
        height, width = reading.shape[:2] if len(reading.shape) > 1 else (reading.image_size,) * 2
        return Format(height, width, channels, dtype, reading.resize, reading.background)
    by_size = {(header.height, header.width): name for name, header in reversed(list(headers.items()))}
    if len(by_size) > 1:
        (first, one), (second, other) = list(by_size.items())[-1], next(iter(by_size.items()))
        raise ValueError(
            f"{files.root / one} is {first[0]}x{first[1]}, but {files.root / other} is {second[0]}x{second[1]}; set "
            "config.data.resize to crop or stretch, and config.data.image_size."
        )
    ((height, width),) = by_size
    return Format(height, width, channels, dtype, None, reading.background)


def _dtype(files: Files, headers: Mapping[str, Header], num_levels: int | None) -> str:
    """uint8 or uint16. Errors: ValueError for files of both depths, unless the number of levels decides."""
    if num_levels is not None:
        if num_levels not in DTYPES:
            raise ValueError(
                f"config.data.num_levels = {num_levels}, but image files have 256 or 65536 levels; set it to one of "
                "them, or leave it unset."
            )
        return DTYPES[num_levels]
    by_dtype = {header.dtype: name for name, header in headers.items()}
    if len(by_dtype) == 1:
        return next(iter(by_dtype))
    raise ValueError(
        f"{files.root / by_dtype['uint16']} has 16 bits and {files.root / by_dtype['uint8']} 8; give images of "
        "one depth, or set config.data.num_levels to 256 or 65536."
    )


def _broken(files: Files, name: str, reason: str) -> ValueError:
    return ValueError(
        f"{files.root / name} cannot be read as an image ({reason}); replace it, or set "
        "config.data.on_corrupt = 'skip'."
    )


def some_in(
    files: Files, headers: Mapping[str, Header], chosen: Sequence[str], split: str, where: str = ""
) -> list[str]:
    """The images of a split whose headers could be read; where: what has them, by default the folder or archive.

    Errors: ValueError if there are none.
    """
    kept = [name for name in chosen if name in headers]
    if not kept:
        raise ValueError(
            f"{where or files.root} has {len(headers)} image(s), none of them in the {split} split; give more, or set "
            "config.data.test_every = 0 to use all of them for both."
        )
    return kept

"""A cache of decoded examples on disk: one array_record file, written in one pass and read in any order.

A record is the label, the values of x and those of the other fields, in their order. The name of the file contains a
hash of what it was made from, and the file gets that name only when it is complete, so an existing file is always
valid.
"""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np
from array_record.python import array_record_module

from core.files import size_of, temporary_file
from core.progress import each
from core.reading import UnreadableError, reading
from data.fields import Field
from data.source import Examples, Source

_OPTIONS = "group_size:1,uncompressed"  # each example can be read alone; compressing images would gain little
_BATCH = 64  # examples decoded at once while writing


@dataclasses.dataclass(frozen=True)
class Records:
    """A `fetch` of the examples of one file; each process opens it for itself."""

    path: pathlib.Path
    fields: Mapping[str, Field]

    def __call__(self, indices: np.ndarray) -> Examples:
        """The examples `indices` [n]."""
        found = {name: np.empty((len(indices), *field.shape), field.dtype) for name, field in self.fields.items()}
        try:
            with reading():
                for row, record in enumerate(
                    _reader(self.path, self.path.stat().st_mtime_ns).read([int(index) for index in indices])
                ):
                    start = 0
                    for name in _order(self.fields):
                        values = found[name][row : row + 1]
                        values[:] = np.frombuffer(record, values.dtype, values.size, offset=start).reshape(values.shape)
                        start += values.nbytes
        except UnreadableError as error:
            raise ValueError(f"{self.path} is damaged ({error}); remove it: it is then written again.") from error
        return found


def _order(fields: Iterable[str]) -> list[str]:
    """The fields in the order of a record: the label first, which was there before any others."""
    return sorted(fields, key=lambda name: name != "label")


@functools.lru_cache(maxsize=4)
def _reader(path: pathlib.Path, mtime_ns: int) -> array_record_module.ArrayRecordReader:
    del mtime_ns  # so that a file that was written again is opened again
    return array_record_module.ArrayRecordReader(str(path))


def cached_on_disk(source: Source, stem: pathlib.Path) -> Source:
    """The same source with its examples in `stem`.array_record, which is written if it does not exist.

    Processes that write at the same time each write their own file; the last one replaces the others' by the same.
    One that is cut off or emptied is written again. Errors: ValueError if the folder cannot be written.
    """
    path = stem.with_name(f"{stem.name}.array_record")
    if not _is_whole(path, len(source)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(source, path)
        except OSError as error:
            raise ValueError(
                f"config.data.cache_dir = {path.parent} cannot be written ({error}); give another folder, or none."
            ) from error
    return dataclasses.replace(source, fetch=Records(path, source.fields))


def _is_whole(path: pathlib.Path, num_records: int) -> bool:
    """Whether there is a file with this number of records; a damaged one is logged, and written again."""
    if not path.exists():
        return False
    try:
        with reading():
            size_of(path)
            reader = array_record_module.ArrayRecordReader(str(path))
            try:
                found = reader.num_records()
            finally:
                reader.close()
            if found != num_records:
                raise UnreadableError(f"it has {found} records instead of {num_records}")
    except UnreadableError as error:
        logging.warning("%s is damaged (%s) and is written again", path, error)
        return False
    return True


def _write(source: Source, path: pathlib.Path) -> None:
    with temporary_file(path) as temporary:
        writer = array_record_module.ArrayRecordWriter(str(temporary), _OPTIONS)
        starts = range(0, len(source), _BATCH)
        for start in each(starts, "decoding the data", len(starts)):
            batch = source.fetch(np.arange(start, min(start + _BATCH, len(source))))
            for row in range(len(batch["label"])):
                writer.write(b"".join(batch[name][row].tobytes() for name in _order(source.fields)))
        writer.close()
    logging.info("%d decoded examples -> %s", len(source), path)

"""A cache of decoded examples on disk: one array_record file, written in one pass and read in any order.

A record is the label, int32, followed by the values of an example. The name of the file contains a hash of what it was
made from, and the file gets that name only when it is complete, so an existing file is always valid.
"""

import dataclasses
import functools
import logging
import pathlib

import numpy as np
from array_record.python import array_record_module

from core.files import temporary_file
from data.source import Examples, Source

_OPTIONS = "group_size:1,uncompressed"  # each example can be read alone; compressing images would gain little
_BATCH = 64  # examples decoded at once while writing


@dataclasses.dataclass(frozen=True)
class Records:
    """A `fetch` of the examples of one file; each process opens it for itself."""

    path: pathlib.Path
    shape: tuple[int, ...]
    dtype: str

    def __call__(self, indices: np.ndarray) -> Examples:
        """The examples `indices` [n]."""
        records = _reader(self.path).read([int(index) for index in indices])
        x = np.empty((len(indices), *self.shape), self.dtype)
        labels = np.empty(len(indices), np.int32)
        for row, record in enumerate(records):
            labels[row] = np.frombuffer(record, np.int32, 1)[0]
            x[row] = np.frombuffer(record, self.dtype, offset=4).reshape(self.shape)
        return {"x": x, "label": labels}


@functools.lru_cache(maxsize=4)
def _reader(path: pathlib.Path) -> array_record_module.ArrayRecordReader:
    return array_record_module.ArrayRecordReader(str(path))


def cached_on_disk(source: Source, stem: pathlib.Path) -> Source:
    """The same source with its examples in `stem`.array_record, which is written if it does not exist.

    Processes that write at the same time each write their own file; the last one replaces the others' by the same.
    Errors: ValueError if the folder cannot be written.
    """
    path = stem.with_name(f"{stem.name}.array_record")
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(source, path)
        except OSError as error:
            raise ValueError(
                f"config.data.cache_dir = {path.parent} cannot be written ({error}); give another folder, or none."
            ) from error
    return dataclasses.replace(source, fetch=Records(path, source.shape, source.dtype))


def _write(source: Source, path: pathlib.Path) -> None:
    with temporary_file(path) as temporary:
        writer = array_record_module.ArrayRecordWriter(str(temporary), _OPTIONS)
        for start in range(0, len(source), _BATCH):
            batch = source.fetch(np.arange(start, min(start + _BATCH, len(source))))
            for x, label in zip(batch["x"], batch["label"], strict=True):
                writer.write(label.astype(np.int32).tobytes() + x.tobytes())
        writer.close()
    logging.info("%d decoded examples -> %s", len(source), path)

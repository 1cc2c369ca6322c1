"""Data sets of Hugging Face on this machine, `hf:PATH`: what `save_to_disk` wrote, or Parquet files with images.

PATH is a file or a folder of `.parquet` or `.arrow` files. x is the column of images, the class is the column `label`,
or the first one of the type ClassLabel, and other columns of numbers or of few different texts are fields. Nothing is
downloaded.

Source: the features that https://github.com/huggingface/datasets keeps in the metadata of a schema.
"""

import bisect
import dataclasses
import functools
import io
import pathlib
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from core.files import parse_object, size_of
from core.reading import MODEST, RATIO, UnreadableError, reading, reason
from data.fields import MAX_TEXTS, texts
from data.notices import some_of, warn_once
from data.readers.arrow_sizes import unpacked_bytes
from data.readers.image_files import image_source
from data.readers.shards import Examples, index_of, origin_of
from data.source import Reading, Source

SUFFIXES = (".parquet", ".arrow")
NAMES = ("image", "img")  # of the column, where there are several of images
LABELS = ("label", "labels")
_ROW = " row "
_SHOWN = 8  # columns that an error lists


@dataclasses.dataclass(frozen=True)
class Tables:
    """The images in the tables of a folder, as `FILE row NUMBER`; each process opens them for itself."""

    root: pathlib.Path
    column: str

    def open(self, name: str) -> BinaryIO:
        """An image, opened for reading. Errors: OSError."""
        file, _, row = name.rpartition(_ROW)
        path = self.root / file
        try:
            with reading():
                value = _value(path, path.stat().st_mtime_ns, self.column, int(row))
        except UnreadableError as error:
            raise OSError(str(error)) from error
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise OSError("it is not in the file, which has only a path; save the data set with save_to_disk")
        return io.BytesIO(content)


def open_hf(given: str, split: str, reading: Reading) -> Source:
    """The split of a data set. Errors: FileNotFoundError, ValueError that name the file."""
    paths = _tables(pathlib.Path(given))
    root = pathlib.Path(given) if pathlib.Path(given).is_dir() else paths[0].parent
    origin = origin_of(paths)
    files, examples = _examples(root, tuple(paths), origin)
    index = index_of(files, examples, lambda row: f"{root}/{examples.names[row]}", origin, split, reading)
    return image_source(f"hf:{given}", files, index, origin, split, reading)


def _tables(path: pathlib.Path) -> list[pathlib.Path]:
    """The files in order. Errors: FileNotFoundError, ValueError for a missing library."""
    try:
        import pyarrow  # noqa: F401  slow to import, and only these data sets need it
    except ImportError as error:
        raise ValueError(f"hf:{path} cannot be read without pyarrow: `pip install pyarrow`.") from error
    found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if not p.name.startswith((".", "cache-")))
    tables = [file for file in found if file.suffix in SUFFIXES and file.is_file()]
    if not tables:
        raise FileNotFoundError(
            f"{path} has no .parquet or .arrow file; nothing is downloaded: give the folder of a data set that "
            "save_to_disk of the library datasets wrote, or Parquet files."
        )
    return tables


@functools.lru_cache(maxsize=2)  # both splits are in the same files
def _examples(root: pathlib.Path, paths: tuple[pathlib.Path, ...], origin: tuple) -> tuple[Tables, Examples]:
    """Errors: ValueError for files that cannot be read, or have no images or other columns than the first."""
    del origin
    import pyarrow as pa

    schema = _schema(paths[0])
    image, label, class_names = _roles(paths[0], schema)
    others = [field.name for field in schema if field.name != image and _is_scalar(field.type)]
    if missing := [field.name for field in schema if field.name not in (image, *others)]:
        warn_once(f"{', '.join(missing)} of {root} are left out: they are not numbers or texts")
    names, shards, parts = list[str](), list[str](), []
    for path in paths:
        if not _schema(path).equals(schema):
            raise ValueError(f"{path} has other columns than {paths[0]}; give files of one data set.")
        table = _read(path, others)
        if table.num_rows != _num_rows(path):
            raise ValueError(
                f"{path} has {table.num_rows} rows, but says that it has {_num_rows(path)}; write it anew."
            )
        file = path.relative_to(root).as_posix()
        names += [f"{file}{_ROW}{row}" for row in range(_num_rows(path))]
        shards += [file] * _num_rows(path)
        parts.append(table)
    table, columns = pa.concat_tables(parts), dict[str, np.ndarray]()
    for name in others:
        array = _array(root, name, table.column(name))
        if array is not None:
            columns["label" if name == label else name] = array
    return Tables(root, image), Examples(tuple(names), tuple(shards), columns, class_names)


def _roles(path: pathlib.Path, schema: Any) -> tuple[str, str | None, tuple[str, ...]]:
    """The column of images, that of classes, and the names of those. Errors: ValueError without images."""
    features = _stored(schema)
    if len(set(schema.names)) < len(schema.names):
        raise ValueError(f"{path} has two columns of one name; give each its own.")
    images = [name for name in schema.names if features.get(name, {}).get("_type") == "Image"]
    images = images or [field.name for field in schema if _is_image(field)]
    chosen = next((name for name in NAMES if name in images), images[0] if len(images) == 1 else None)
    if chosen is None:
        raise ValueError(
            f"{path} has the columns {some_of(schema.names, _SHOWN)}, {len(images) or 'none'} of them of images; name "
            f"one of images {NAMES[0]}."
        )
    classes = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    label = next((name for name in (*LABELS, *classes) if name in schema.names), None)
    names = features[label].get("names") if label is not None and label in classes else None
    return chosen, label, tuple(map(str, names)) if isinstance(names, list) else ()


def _stored(schema: Any) -> dict[str, dict[str, Any]]:
    """What the library datasets has noted of columns, by name; nothing where it is in another form."""
    found: Any = parse_object((schema.metadata or {}).get(b"huggingface", b"{}"))
    for key in ("info", "features"):
        found = found.get(key) if isinstance(found, dict) else None
    return {name: value for name, value in found.items() if isinstance(value, dict)} if isinstance(found, dict) else {}


def _is_image(field: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(field.type):
        return "bytes" in [child.name for child in field.type]
    return field.name in NAMES and (pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type))


def _is_scalar(kind: Any) -> bool:
    import pyarrow as pa

    tests = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_string,
        pa.types.is_large_string,
    )
    return any(test(kind) for test in tests)


def _array(root: pathlib.Path, name: str, column: Any) -> np.ndarray | None:
    """A column [N]; None, with a line in the log, for one with missing values or too many different texts."""
    import pyarrow as pa

    if column.null_count:
        warn_once(f"the column {name} of {root} is left out: it has missing values")
        return None
    if not any(test(column.type) for test in (pa.types.is_dictionary, pa.types.is_string, pa.types.is_large_string)):
        return column.to_numpy()
    shared = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    whole = shared.unify_dictionaries().combine_chunks()
    found, rows = whole.dictionary.to_pylist(), whole.indices.to_numpy()
    if len(found) > MAX_TEXTS:
        warn_once(f"the column {name} of {root} is left out: it has too many different texts for classes")
        return None
    if (array := texts(found, len(rows))) is None:
        warn_once(f"the column {name} of {root} is left out: it has texts that are too long for classes")
        return None
    return array[rows]


# Files ------------------------------------------------------------------------------------------------------------


def _schema(path: pathlib.Path) -> Any:
    import pyarrow.parquet as pq

    return _reading(path, lambda: pq.read_schema(path)) if _is_parquet(path) else _arrow(path, _changed(path)).schema


def _num_rows(path: pathlib.Path) -> int:
    return sum(_sizes(path, _changed(path)))


def _read(path: pathlib.Path, columns: Sequence[str]) -> Any:

    if _is_parquet(path):
        return _reading(path, lambda: _opened(path).read(columns=list(columns)))
    return _arrow(path, _changed(path)).select(list(columns))


def _value(path: pathlib.Path, changed: int, column: str, row: int) -> Any:
    """One cell."""
    if not _is_parquet(path):
        return _arrow(path, changed).column(column)[row].as_py()
    ends = np.cumsum(_sizes(path, changed)).tolist()
    group = bisect.bisect_right(ends, row)
    return _row_group(path, changed, column, group)[row - (ends[group - 1] if group else 0)].as_py()


@functools.lru_cache(maxsize=256)
def _sizes(path: pathlib.Path, changed: int) -> tuple[int, ...]:
    """The rows of each row group; of an Arrow file, which is not divided, of all."""
    import pyarrow.parquet as pq

    def read() -> tuple[int, ...]:
        metadata, size = pq.read_metadata(path), path.stat().st_size
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        rows, unpacked = tuple(group.num_rows for group in groups), sum(group.total_byte_size for group in groups)
        if sum(rows) > size or min(rows, default=0) < 0:
            raise UnreadableError(f"it says that it has {sum(rows):,} images in {size:,} bytes")
        _check_unpacked(size, unpacked)
        return rows

    return _reading(path, read) if _is_parquet(path) else (_arrow(path, changed).num_rows,)


@functools.lru_cache(maxsize=8)  # row groups in memory; data.cache_dir avoids reading them again and again
def _row_group(path: pathlib.Path, changed: int, column: str, group: int) -> Any:
    del changed

    return _reading(path, lambda: _opened(path).read_row_group(group, columns=[column]).column(0))


def _opened(path: pathlib.Path) -> Any:
    """A Parquet file whose texts and images are in memory once, also where they are in the file once for many rows."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    leaves = [metadata.schema.column(number) for number in range(len(metadata.schema))]
    shared = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    return pq.ParquetFile(path, metadata=metadata, read_dictionary=shared)


@functools.lru_cache(maxsize=256)
def _arrow(path: pathlib.Path, changed: int) -> Any:
    """The table of an Arrow file, as a stream or not; it stays on disk."""
    del changed
    import pyarrow as pa

    def read() -> Any:
        _check_unpacked(size_of(path), unpacked_bytes(path))
        mapped = pa.memory_map(str(path))
        try:
            table = pa.ipc.open_stream(mapped).read_all()
        except pa.ArrowInvalid:
            table = pa.ipc.open_file(mapped).read_all()
        table.validate(full=True)  # offsets are used as they are
        return table

    return _reading(path, read)


def _check_unpacked(size: int, unpacked: int) -> None:
    """Errors: UnreadableError for a file that unpacks to too much."""
    if unpacked > max(MODEST, RATIO * size):
        raise UnreadableError(f"it has {size:,} bytes and unpacks to {unpacked:,}, more than {RATIO} times as many")


def _reading(path: pathlib.Path, read: Any) -> Any:
    """The result of `read()`. Errors: ValueError that names the file."""
    import pyarrow as pa

    try:
        with reading():
            try:
                return read()
            except pa.ArrowException as error:  # some of them are of no family that others raise
                raise UnreadableError(reason(error)) from error
    except UnreadableError as error:
        raise ValueError(f"{path} cannot be read as a table ({error}); write it anew.") from error


def _is_parquet(path: pathlib.Path) -> bool:
    return path.suffix == ".parquet"


def _changed(path: pathlib.Path) -> int:
    return path.stat().st_mtime_ns

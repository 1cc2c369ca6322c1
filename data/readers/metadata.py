"""Tables beside images: each metadata.csv gives its images, by a column file_name, the values of further fields.

file_name is relative to the folder of the table, as in the image folders of Hugging Face. Every image needs a line in
one table. A column of numbers or of few different texts is a field (`data.fields.field_of`); others are left out, with
a line in the log. The column label, where there is one, is the class.
"""

import csv
import io
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data.fields import Field, fields_of, texts
from data.notices import short, some_of
from data.readers.containers import Container, Entry
from data.source import Reading, if_needed

TABLE, KEY = "metadata.csv", "file_name"
_SHOWN = 8  # columns that an error lists


class Line(NamedTuple):
    """What a table says of an image, by column; the table and the number of the line."""

    cells: Mapping[str, str]
    table: str
    number: int

    def __str__(self) -> str:
        return f"line {self.number} of {self.table}"


class Metadata(NamedTuple):
    """Images, fields by name, and their values [N]."""

    images: Sequence[str]
    fields: dict[str, Field]
    values: dict[str, np.ndarray]

    def of(self, images: Sequence[str]) -> "Metadata":
        """The same of some images."""
        place = {name: row for row, name in enumerate(self.images)}
        rows = np.array([place[name] for name in images], np.int64)
        return Metadata(images, self.fields, {name: values[rows] for name, values in self.values.items()})


def is_table(name: str) -> bool:
    """Whether a file is a table of metadata."""
    return posixpath.basename(name).lower() == TABLE


def read_metadata(files: Container, entries: Sequence[Entry], images: Sequence[str], reading: Reading) -> Metadata:
    """What all tables say of `images`. Errors: ValueError that names the table and the line."""
    tables = [entry.name for entry in entries if is_table(entry.name)]
    if not tables:
        return Metadata(images, {}, {})
    known, found, columns = set(images), dict[str, Line](), None
    for table in tables:
        for line in _lines(files, table):
            cells = dict(line.cells)
            name = posixpath.normpath(posixpath.join(posixpath.dirname(table), cells.pop(KEY)))
            if name not in known or name in found:
                wrong = (
                    f"the image {name} again" if name in found else f"{short(name)}, which is no image of {files.root}"
                )
                raise ValueError(f"{line} has {wrong}; correct the table.")
            if columns not in (None, cells.keys()):
                raise ValueError(f"{line.table} has other columns than {files.root / tables[0]}; give them the same.")
            columns, found[name] = cells.keys(), line._replace(cells=cells)
    if missing := [name for name in images if name not in found]:
        raise ValueError(f"{files.root / missing[0]} has no line in {TABLE}; add one for every image.")
    table, lines = str(files.root / tables[0]), [found[name] for name in images]
    cells_of = {column: parsed([line.cells[column].strip() for line in lines]) for column in columns or ()}
    fields, values = fields_of(table, cells_of, len(lines), lambda row: str(lines[row]), "fill in the cell")
    if "label" in fields and not if_needed(reading, lambda: _classes(table, fields), 0):
        fields = {name: field for name, field in fields.items() if name != "label"}
        values = {name: array for name, array in values.items() if name != "label"}
    return Metadata(images, fields, values)


def _classes(table: str, fields: dict[str, Field]) -> int:
    """The number of classes of the column label. Errors: ValueError if it has none."""
    if not fields["label"].num_classes:
        raise ValueError(
            f"the column label of {table} has no classes; number them from 0, or name the column otherwise."
        )
    return fields["label"].num_classes


def _lines(files: Container, table: str) -> Iterator[Line]:
    """The lines of a table. Errors: ValueError for a file that is not one."""
    path = str(files.root / table)
    try:
        with files.open(table) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            columns = list(reader.fieldnames or ())
            if KEY not in columns or len(set(columns)) < len(columns) or "x" in columns:
                raise ValueError(
                    f"{path} has the columns {some_of(columns, _SHOWN) or '(none)'}, but {KEY} and others of different "
                    "names, none of them x, are expected; correct its first line."
                )
            for cells in reader:
                if None in cells or None in cells.values():
                    raise ValueError(f"line {reader.line_num} of {path} has not {len(columns)} cells; correct it.")
                yield Line(cells, path, reader.line_num)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ValueError(f"{path} cannot be read as a table ({error}); save it as CSV in UTF-8.") from error


def parsed(cells: Sequence[str]) -> np.ndarray | None:
    """A column as integers or, with fractions or empty cells (NaN), as floats; as texts if it is not of numbers.

    None for texts that are too long for an array.
    """
    for convert, dtype in ((int, np.int64), (lambda cell: float(cell or "nan"), np.float64)):
        try:
            return np.array([convert(cell) for cell in cells], dtype)
        except (ValueError, OverflowError):
            continue
    return texts(cells)

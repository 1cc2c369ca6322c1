"""Time series from a table, .csv or .parquet, from .npz, or from JSON lines (`start`, `target`, `item_id`, `freq`).

A table has a row per time: its first column may be the time, a date or a year or a number, all in equal steps; every
other column is a channel. With a column `item_id`, each item is a series of its own. A missing value is an empty cell,
NaN or null. In an .npz file every array [T] or [T, C] is a series. What pandas writes of itself is understood: the
number of a row in a first column without a name, and times that are the index of a .parquet file.
"""

import csv
import dataclasses
import json
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core.array_files import read_npz
from core.reading import MODEST, RATIO, UnreadableError, read_bytes, reading

TIMES = ("time", "date", "datetime", "timestamp", "week", "month", "year", "start", "index", "")
MISSING = ("", "nan", "na", "null", "none")
SECONDS = {3600: "hourly", 86400: "daily", 7 * 86400: "weekly"}
MONTHS = {1: "monthly", 3: "quarterly", 12: "yearly"}
MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# The frequencies of pandas: S is for the start of a month or more, E for its end, B for business days.
PANDAS = {
    "H": "hourly", "D": "daily", "B": "daily", "W": "weekly", "ms": "",  # milliseconds
    **{
        before + letter + after: name
        for letter, name in {"M": "monthly", "Q": "quarterly", "Y": "yearly", "A": "yearly"}.items()
        for before in ("", "B")
        for after in ("", "S", "E")
    },
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Series:
    """Values [T, C], float32, NaN where they are missing, in equal steps of time.

    start: of the first value, as the file has it; empty where it has no times. frequency: "hourly", "daily", "weekly",
    "monthly", "quarterly", "yearly", or empty where it is none of them.
    """

    name: str
    values: np.ndarray
    start: str = ""
    frequency: str = ""


def read_series(path: pathlib.Path) -> list[Series]:
    """The series of a file. Errors: FileNotFoundError, ValueError, one sentence that names the row or the series."""
    if path.suffix not in READERS:
        raise ValueError(f"{path} is no file of series; give one that ends in {', '.join(READERS)}.")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a file of series, {', '.join(READERS)}.")
    found = READERS[path.suffix](path)
    if not found:
        raise ValueError(f"{path} has no series: it needs a row for each time and a column of numbers.")
    for series in found:
        _check(series, f"{series.name} of {path}")
    return found


def _csv(path: pathlib.Path) -> list[Series]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = csv.reader(file)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as a table ({error}); give UTF-8 text with a line of names.") from None
    rows = [row for row in rows if row]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {number} has {len(row)} cells, but there are {len(header)} names; correct it."
            )
    return _of_table(path, {name.strip(): [row[k] for row in rows] for k, name in enumerate(header)})


def _parquet(path: pathlib.Path) -> list[Series]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError(f"{path} needs pyarrow to be read: `pip install pyarrow`, or give a .csv file.") from None
    try:
        with reading():
            about, size = parquet.read_metadata(path), path.stat().st_size
            if (unpacked := 8 * about.num_rows * about.num_columns) > max(MODEST, RATIO * size):
                raise UnreadableError(f"it has {size:,} bytes, and numbers of {unpacked:,}")
            table = parquet.read_table(path)
    except UnreadableError as error:
        raise ValueError(f"{path} cannot be read as a Parquet file ({error}); write it again.") from error
    index = [name for name in (table.schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(name, str)]
    columns = {
        name: table.column(name).to_pylist() for name in sorted(table.column_names, key=lambda n: n not in index)
    }
    rows = [name for name in index if name.startswith("__index_level_") and _is_numeric(columns[name])]
    return _of_table(path, {name: cells for name, cells in columns.items() if name not in rows})


def _npz(path: pathlib.Path) -> list[Series]:
    try:
        arrays = read_npz(path)
    except UnreadableError as error:
        raise ValueError(f"{path} cannot be read as arrays ({error}); write it by numpy.savez.") from error
    for name, array in arrays.items():
        if array.ndim not in (1, 2) or array.dtype.kind not in "fiu":
            raise ValueError(f"{name} of {path} is {array.dtype} {array.shape}, but numbers [T] or [T, C] are needed.")
    return [Series(name, _columns(array)) for name, array in arrays.items()]


def _json_lines(path: pathlib.Path) -> list[Series]:
    found = list[Series]()
    try:
        lines = read_bytes(path).decode().splitlines()
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as text ({error}); give UTF-8 text.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            with reading():
                item = json.loads(line)
            target = item["target"]
            several = bool(target) and isinstance(target[0], list)  # channels, each with its times
            parts = [_numbers(f"{where}, target", each) for each in (target if several else [target])]
            values = np.stack(parts, axis=1)
        except (KeyError, TypeError, UnreadableError) as error:
            raise ValueError(
                f"{where} is no series ({error}); give an object with a list of numbers `target`."
            ) from None
        name, start = str(item.get("item_id", len(found))), str(item.get("start", ""))
        found.append(Series(name, values, start, _of_pandas(str(item.get("freq", "")))))
    return found


def _of_pandas(text: str) -> str:
    """The frequency that a text such as "M", "1D", "W-SUN" or "QS-OCT" means; empty for multiples, and for others."""
    unit = text.split("-")[0].removeprefix("1")
    return PANDAS.get(unit, PANDAS.get(unit.upper(), ""))


def _of_table(path: pathlib.Path, columns: dict[str, list[Any]]) -> list[Series]:
    """The series of a table; those of the column `item_id`, if there is one."""
    if "item_id" not in columns:
        return [_of_columns(path, path.stem, columns, 2)] if any(columns.values()) else []
    ids, found = np.asarray([str(each) for each in columns.pop("item_id")]), []
    for item in dict.fromkeys(ids.tolist()):
        rows = np.flatnonzero(ids == item)
        own = {name: [column[row] for row in rows] for name, column in columns.items()}
        found.append(_of_columns(path, item, own, int(rows[0]) + 2))
    return found


def _of_columns(path: pathlib.Path, name: str, columns: dict[str, list[Any]], first: int) -> Series:
    """One series; `first` is the line of its first value."""
    names, (start, frequency) = list(columns), ("", "")
    if names[0] == "" and len(names) > 2 and (names[1].lower() in TIMES or not _is_numeric(columns[names[1]])):
        del columns[names.pop(0)]  # the numbers of the rows
    if names[0].lower() in TIMES or not _is_numeric(columns[names[0]]):
        times = columns.pop(names[0])
        start, frequency = str(times[0]), _frequency(f"the column {names[0]!r} of {name} in {path}", times)
    if not columns:
        raise ValueError(f"{path} has no column of numbers beside {names[0]!r}; add one for each channel.")
    where = lambda column: f"the column {column!r} of {path}"  # noqa: E731
    values = [_numbers(where(column), cells, first) for column, cells in columns.items()]
    return Series(name, np.stack(values, axis=1), start, frequency)


def _is_numeric(cells: Sequence[Any]) -> bool:
    try:
        _numbers("", cells[:50])
    except ValueError:
        return False
    return True


def _numbers(where: str, cells: Sequence[Any], first: int = 1) -> np.ndarray:
    """Numbers [T] float32, NaN where they are missing. Errors: ValueError with the first cell that is none."""
    values = np.empty(len(cells), np.float32)
    for row, cell in enumerate(cells):
        if cell is None or (isinstance(cell, str) and cell.strip().lower() in MISSING):
            values[row] = np.nan
            continue
        try:
            values[row] = float(cell)
        except (TypeError, ValueError):
            raise ValueError(
                f"{where} has {cell!r} in row {row + first}, but numbers are expected; correct it, or leave the cell "
                "empty where the value is missing."
            ) from None
    return values


def _frequency(where: str, times: Sequence[Any]) -> str:
    """How often there is a value. Errors: ValueError for times that are not in equal steps, with the first such."""
    moments = _moments(where, times)
    if moments.dtype.kind == "f":
        steps = np.diff(moments)
        if len(steps) and not (steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-6)):
            _irregular(where, times, steps)
        return ""
    seconds = np.diff(moments.astype("datetime64[s]").astype(np.int64))
    months = np.diff(moments.astype("datetime64[M]").astype(np.int64))
    if len(seconds) == 0:
        return ""
    if np.all(seconds == seconds[0]) and seconds[0] > 0:
        by_seconds = SECONDS.get(int(seconds[0]), "")
        return by_seconds or (MONTHS.get(int(months[0]), "") if np.all(months == months[0]) else "")
    days = moments.astype("datetime64[D]")
    ends = (days + 1).astype("datetime64[M]") != days.astype("datetime64[M]")
    day = (days - days.astype("datetime64[M]")).astype(int)
    if months[0] > 0 and np.all(months == months[0]) and (np.all(ends) or np.all(day == day[0])):
        return MONTHS.get(int(months[0]), "")
    _irregular(where, times, seconds)
    return ""


def _moments(where: str, times: Sequence[Any]) -> np.ndarray:
    """Dates, years, quarters and months with their names among them, or numbers. Errors: ValueError for others."""
    texts = [str(time).strip().replace("/", "-").removesuffix("Z").removesuffix("+00:00") for time in times]
    if all(re.fullmatch(r"\d{8}", text) for text in texts):
        texts = [f"{text[:4]}-{text[4:6]}-{text[6:]}" for text in texts]
    texts = [_dated(text) for text in texts]
    try:
        if all(re.fullmatch(r"\d{4}|\d{4}-.*", text) for text in texts):
            return np.array([np.datetime64(text) for text in texts])
        return np.array([float(text) for text in texts])
    except ValueError:
        raise ValueError(f"{where} has times that are neither dates such as 2024-01-31 nor numbers.") from None


def _dated(text: str) -> str:
    """Quarters such as 2024Q1 or 2024-Q1, and months such as 2024 Jan or Jan 2024, as 2024-01; others as they are."""
    if found := re.fullmatch(r"(\d{4})[- ]?[qQ]([1-4])", text):
        return f"{found[1]}-{3 * int(found[2]) - 2:02d}"
    found = re.fullmatch(r"(?P<year>\d{4})[- ](?P<month>[a-zA-Z]{3})", text) or re.fullmatch(
        r"(?P<month>[a-zA-Z]{3})[- ](?P<year>\d{4})", text
    )
    if not found or found["month"].lower() not in MONTH_NAMES:
        return text
    return f"{found['year']}-{MONTH_NAMES.index(found['month'].lower()) + 1:02d}"


def _irregular(where: str, times: Sequence[Any], steps: np.ndarray) -> None:
    """Errors: ValueError that names the first step that differs from the usual one."""
    kinds, counts = np.unique(steps, return_counts=True)
    usual = kinds[counts.argmax()]
    odd = int(np.flatnonzero((steps != usual) | (steps <= 0))[0])
    raise ValueError(
        f"{where} has irregular times: {times[odd + 1]} follows {times[odd]}, unlike the other steps; give a row for "
        "each time in equal steps, with an empty cell where the value is missing."
    )


def _columns(array: np.ndarray) -> np.ndarray:
    values = array.astype(np.float32)
    return values[:, None] if values.ndim == 1 else values


def _check(series: Series, where: str) -> None:
    """Errors: ValueError for infinite values, and for a series without any value."""
    infinite = np.flatnonzero(np.isinf(series.values).any(axis=1))
    if infinite.size:
        raise ValueError(f"{where} has an infinite value at time {infinite[0]}; correct it, or leave it empty.")
    empty = np.flatnonzero(~np.isfinite(series.values).any(axis=0))
    if not series.values.size or empty.size:
        what = f"channel {empty[0]} of " if series.values.shape[1] > 1 and empty.size else ""
        raise ValueError(f"{what}{where} has no value at all: all of them are missing; leave it out.")


READERS: dict[str, Callable[[pathlib.Path], list[Series]]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".npz": _npz,
    ".jsonl": _json_lines,
    ".json": _json_lines,
}

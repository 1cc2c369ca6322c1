"""What a report holds: estimates with error bars and columns; how reports are written, read and compared.

The report of a checkpoint, `report.json`, has the results of its tasks below "results" and, below "columns", how to
present them. Consoles, pages, tables and curves render any columns: they know no task and no metric by name.
"""

import dataclasses
import logging
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from core.errors import DamagedFileError
from core.files import damaged_file, json_lines, read_json, write_json
from reports.kinds import UNFIT, check_column, check_kinds, is_time

REPORT, TIMES = "report.json", "wall_seconds.jsonl"
METRICS = "metrics.jsonl"  # the log of training, in the workdir
Better = Literal["lower", "higher"]
BASELINE = "real vs. real"  # what baselines are called


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A metric's value, its error bar and what that is, the numbers of examples, and a warning where they are few.

    value: the metric. error: one standard deviation, or NaN if unknown. error_from: where the error bar comes from, in
    words. num_samples, num_real: numbers of examples; 0 where none are used, None if unknown. warning: a sentence, or
    empty; remedy: what to do about it, or empty. details: further numbers by name, including "standard_deviation" where
    the error is not a standard error but, as published, the deviation over parts.
    """

    value: float
    error: float
    error_from: str
    num_samples: int | None
    num_real: int | None
    warning: str = ""
    remedy: str = ""
    details: dict[str, float] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The same for a report: `details` beside the other fields; `warning`, with the remedy, only where one is."""
        fields = dataclasses.asdict(self)
        details, warning = fields.pop("details"), "; ".join(filter(None, (fields.pop("warning"), fields.pop("remedy"))))
        return fields | ({"warning": warning} if warning else {}) | details


@dataclasses.dataclass(frozen=True)
class Column:
    """One number of a result: where it is, what it is called, and how it is read.

    path: dotted names below the result of the task that declares the column; in a report, below "results". heading: its
    name in tables. better: which values are better, or None. error: the path of its error bar, one standard
    deviation. baseline: the path of the same number for real examples against real ones, whose error bar has the same
    name as that of `path`. digits: a format specification, for consoles. rank: the column of the highest rank that has
    values, and a better direction, decides which checkpoint or run is best. variant: what tells the number from that of
    the same path elsewhere, such as the features it is computed from; it is part of the heading. identity: what else
    must be equal for two values to be compared, such as a hash of these features.
    """

    path: str
    heading: str
    better: Better | None = None
    error: str | None = None
    baseline: str | None = None
    digits: str = ".4g"
    rank: int = 0
    variant: str = ""
    identity: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What two reports must have in common for their values to be compared."""
        return self.path, self.heading, self.identity

    def named(self, path: str) -> str:
        """A path as the header of a CSV file: `metrics.samples.fid.value (thumbnails)`."""
        return f"{path} ({self.variant})" if self.variant else path

    def varied(self, variant: str, identity: str = "") -> "Column":
        """The same column of a variant: `FID (thumbnails)`, which decides after the one without a variant."""
        heading, rank = (f"{self.heading} ({variant})", self.rank - 1) if variant else (self.heading, self.rank)
        return dataclasses.replace(self, heading=heading, rank=rank, variant=variant, identity=identity)

    def below(self, name: str) -> "Column":
        """The same column of a result that is stored as `name`."""

        def moved(path: str | None) -> str | None:
            return path and f"{name}.{path}"

        return dataclasses.replace(
            self, path=f"{name}.{self.path}", error=moved(self.error), baseline=moved(self.baseline)
        )

    @property
    def baseline_error(self) -> str | None:
        """Where the error bar of the baseline is."""
        if self.baseline is None or self.error is None:
            return None
        return f"{self.baseline.rpartition('.')[0]}.{self.error.rpartition('.')[2]}"

    def to_dict(self) -> dict[str, Any]:
        """The column as a report stores it."""
        return dataclasses.asdict(self)


class Checkpoint(NamedTuple):
    """The report of a checkpoint, its numbers by dotted name, its columns, and its grid of samples, a PNG file.

    times: when its tasks were done, and how many seconds each of them took; reports themselves hold no times.
    """

    report: dict[str, Any]
    numbers: dict[str, float]
    columns: tuple[Column, ...]
    grid: bytes | None
    times: Sequence[Mapping[str, Any]] = ()

    def numbers_of(self, column: Column) -> Mapping[str, float]:
        """Its numbers, for a column that it has; see `numbers_for`."""
        return numbers_for(column, self.numbers, self.columns)

    def named_numbers(self) -> dict[str, float]:
        """Its numbers by the names of a CSV file, which tell the variants of a column apart."""
        owners = {path.rpartition(".")[0]: c for c in self.columns for path in (c.path, c.baseline) if path}
        plain = Column("", "")
        return {owners.get(name.rpartition(".")[0], plain).named(name): value for name, value in self.numbers.items()}


class Best(NamedTuple):
    """The best checkpoint, after how many steps, by which column (its heading), and the value there."""

    checkpoint: int
    step: int
    by: str
    value: float

    def __str__(self) -> str:
        return f"checkpoint {self.checkpoint}, after {self.step:,} steps, by {self.by}: {self.value:.4g}"


def write_report(directory: str | os.PathLike, report: Mapping[str, Any]) -> pathlib.Path:
    """Writes `report` to `report.json` in `directory` and returns its path; see `core.files.write_json`."""
    path = pathlib.Path(directory) / REPORT
    write_json(path, report)
    return path


def read_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """The report at `path`, with the grid of samples that it names. Errors: DamagedFileError for other contents."""
    path = pathlib.Path(path)
    report = read_json(path)
    try:
        grid = path.with_name(report["grid"]) if report.get("grid") else None
        content = grid.read_bytes() if grid and grid.exists() else None
        numbers = check_report(report)
        check_kinds(
            report,
            {**dict.fromkeys(("checkpoint", "step", "seed", "num_devices"), int), "config": dict, "versions": dict},
        )
        "".join([*report.get("subject", ()), *(report[name] for name in ("device_kind", "backend"))])
        times = [line for line in read_lines(path.with_name(TIMES)) if is_time(line)]
        return Checkpoint(report, numbers, columns_of(report), content, times)
    except (*UNFIT, OSError) as error:
        raise damaged_file(path, "is no report of an evaluation") from error


def check_report(report: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a report. Errors: those of `UNFIT`, for one with parts that cannot be shown."""
    check_kinds(report, {"results": dict})
    results, columns = report["results"], columns_of(report)
    for column in columns:
        check_column(vars(column))
    "".join([*warnings(results, columns), *(note for column in columns for note in notes(results, column))])
    return dict(flatten(results))


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """The complete lines of a file of JSON objects; none if there is no such file."""
    return list(json_lines(path.read_bytes())) if path.exists() else []


def read(folder: pathlib.Path) -> list[Checkpoint]:
    """The reports of all finished checkpoints in `folder`, by checkpoint number; a warning for each damaged one."""
    found = []
    for path in sorted(folder.glob(f"ckpt_*/{REPORT}")):
        try:
            found.append(read_checkpoint(path))
        except DamagedFileError as error:
            logging.warning("It is left out of the overview: %s", error)
    return sorted(found, key=lambda checkpoint: checkpoint.report["checkpoint"])


def columns_of(report: Mapping[str, Any]) -> tuple[Column, ...]:
    """The columns of a report; empty for reports that have none."""
    return tuple(Column(**entry) for entry in report.get("columns", ()))


def merged(columns: Iterable[Iterable[Column]]) -> list[Column]:
    """The columns of several reports, each once, in the order of their first appearance; variants are columns."""
    found: dict[tuple[str, str, str], Column] = {}
    for each in columns:
        for column in each:
            found.setdefault(column.key, column)
    return list(found.values())


def numbers_for(column: Column, numbers: Mapping[str, float], columns: Iterable[Column]) -> Mapping[str, float]:
    """`numbers`, if their report has this very column; none if its own column there is that of other features."""
    return numbers if column.key in {own.key for own in columns} else {}


def by_rank(columns: Iterable[Column]) -> list[Column]:
    """The columns with a better direction, by descending rank."""
    return sorted((column for column in columns if column.better), key=lambda column: -column.rank)


def best_index(column: Column, values: Mapping[int, float]) -> int:
    """The key of the best of `values`; of equal ones, the first."""
    sign = -1 if column.better == "higher" else 1
    return min(sorted(values), key=lambda key: sign * values[key])


def best_of(checkpoints: Sequence[Checkpoint]) -> Best | None:
    """The best checkpoint by the column of the highest rank that any of them has; of equal ones, the first."""
    by_number = {checkpoint.report["checkpoint"]: checkpoint for checkpoint in checkpoints}
    for column in by_rank(merged(checkpoint.columns for checkpoint in checkpoints)):
        numbers = {n: c.numbers_of(column) for n, c in by_number.items()}
        values = {n: known[column.path] for n, known in numbers.items() if column.path in known}
        if values:
            number = best_index(column, values)
            return Best(number, by_number[number].report["step"], column.heading, values[number])
    return None


def entry(results: Mapping[str, Any], path: str | None) -> Mapping[str, Any]:
    """What is stored beside the number at `path`: its error, numbers of examples, a warning; empty if it is missing."""
    for name in path.split(".")[:-1] if path else ():
        results = results.get(name, {})
    return results if path else {}


def notes(results: Mapping[str, Any], column: Column) -> list[str]:
    """What the error bar of a column is, and from how many examples its value comes."""
    beside = entry(results, column.path)
    counts = (("num_examples", "examples"), ("num_samples", "samples"), ("num_real", "real examples"))
    counted = [f"{beside[key]:,} {noun}" for key, noun in counts if beside.get(key)]
    return [*filter(None, [beside.get("error_from")]), *counted]


def facts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Results that are words, such as the features by which samples are compared; true and false are yes and no."""
    nested = (result for result in results.values() if isinstance(result, Mapping))
    found = [(name, value) for result in nested for name, value in result.items() if isinstance(value, str | bool)]
    return [(name, value if isinstance(value, str) else "yes" if value else "no") for name, value in found]


def is_deviation(numbers: Mapping[str, float], path: str) -> bool:
    """Whether an error bar is the standard deviation over parts, as published, and not a standard error."""
    return f"{path.rpartition('.')[0]}.standard_deviation" in numbers


def warnings(results: Mapping[str, Any], columns: Iterable[Column]) -> list[str]:
    """The warnings of the columns, each sentence once, since several columns may share one.

    Of baselines, only those of columns that have no warning of their own.
    """
    own, others = [], []
    for column in columns:
        if warning := entry(results, column.path).get("warning"):
            own.append(warning)
        elif warning := entry(results, column.baseline).get("warning"):
            others.append(warning)
    return list(dict.fromkeys([*own, *others]))


def flatten(results: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """("bits_per_dim.mean", 3.2) for every finite number."""
    for name, value in results.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield f"{prefix}{name}", value

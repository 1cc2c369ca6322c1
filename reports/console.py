"""Results on a console: the columns of a report as a table, with error bars, baselines and where they come from."""

import io
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from reports import records
from reports.records import BASELINE, Column, columns_of, entry, facts, flatten, is_deviation, notes, read_checkpoint

WIDTH = 120  # characters


def summary(path: str | os.PathLike) -> str:
    """The results of the report at `path`, and where its samples and the report itself are."""
    checkpoint = read_checkpoint(path)
    report, results = checkpoint.report, checkpoint.report["results"]
    lines = [f"Checkpoint {report['checkpoint']}, after {report['step']} steps", as_text(results, checkpoint.columns)]
    lines += [f"  {name:<15}{value}" for name, value in facts(results) if not name.endswith(("hash", "sha256"))]
    if report.get("sampler"):
        lines.append(f"  {'sampler':<15}{report['sampler']}")
    if report.get("grid"):
        lines.append(f"  {'samples':<15}{pathlib.Path(path).with_name(report['grid'])}")
    return "\n".join([*filter(None, lines), f"  {'report':<15}{path}"])


def warnings(path: str | os.PathLike) -> list[str]:
    """The warnings of the report at `path`, each sentence once."""
    checkpoint = read_checkpoint(path)
    return records.warnings(checkpoint.report["results"], checkpoint.columns)


def figures(measured: Mapping[str, Any]) -> str:
    """The results of samples from files, which hold their own columns."""
    return as_text(measured, columns_of(measured))


def as_text(results: Mapping[str, Any], columns: Iterable[Column]) -> str:
    """A line for each column that has a value: its heading, value, error bar, baseline and notes."""
    numbers = dict(flatten(results))
    shown = [column for column in columns if column.path in numbers]
    if not shown:
        return ""
    with_baseline = any(column.baseline in numbers for column in shown)
    table = Table(box=None, show_header=with_baseline, header_style="", pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "", *([BASELINE] if with_baseline else []), ""):
        table.add_column(heading, no_wrap=True)
    for column in shown:
        baseline = [_number(numbers, column.baseline, None, column.digits)] if with_baseline else []
        value = _number(numbers, column.path, column.error, column.digits)
        remark = _remark(results, column, is_deviation(numbers, column.path))
        table.add_row(column.heading, value, *baseline, remark)
    buffer = io.StringIO()
    Console(file=buffer, width=WIDTH, highlight=False, markup=False).print(Padding(table, (0, 0, 0, 2)))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def _number(numbers: Mapping[str, float], path: str | None, error: str | None, digits: str) -> str:
    """`2.0281 ± 0.0142`; an error bar has two digits where its value has significant digits, not decimals."""
    if path is None or path not in numbers:
        return ""
    bar = (
        ""
        if error is None or error not in numbers
        else f" ± {numbers[error]:{digits if digits.endswith('f') else '.2g'}}"
    )
    return f"{numbers[path]:{digits}}{bar}"


def _remark(results: Mapping[str, Any], column: Column, is_deviation: bool) -> str:
    """The number of examples; if the error bar is not a standard error, what it is."""
    found = notes(results, column)
    if is_deviation and found:
        return f"± {found[0]}"
    return next((note for note in found if note != entry(results, column.path).get("error_from")), "")

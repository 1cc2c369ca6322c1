"""Pages that need nothing else: no script, no font and no image from elsewhere. The markup is in `templates/`."""

import base64
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from reports.records import BASELINE, Best, Checkpoint, Column, facts, is_deviation, merged, notes, warnings

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ARROWS = {"lower": " ↓", "higher": " ↑", None: ""}


class Cell(NamedTuple):
    """A number as it is shown, its error bar, and whether that is a deviation over parts."""

    value: str = ""
    error: str = ""
    is_deviation: bool = False


def render(template: str, **content: Any) -> str:
    """A template of `templates/`, filled in; everything but `Markup` is escaped."""
    return TEMPLATES.get_template(template).render(**content)


def evaluation(checkpoints: Sequence[Checkpoint], best: Best | None, drawing: bytes, real: bytes | None = None) -> str:
    """The page of an evaluation. drawing: the curves, an SVG document, or nothing; real: a grid of real examples."""
    every = merged(checkpoint.columns for checkpoint in checkpoints)
    columns = [c for c in every if any(c.path in checkpoint.numbers_of(c) for checkpoint in checkpoints)]
    last = checkpoints[-1] if checkpoints else None
    own = [c for c in columns if last and last.numbers_of(c)]
    return render(
        "evaluation.html",
        subject=" · ".join(last.report.get("subject", [])) if last else "nothing yet",
        best=best,
        curves=inline_svg(drawing) if drawing else "",
        headings=[heading(column) for column in columns],
        rows=[(checkpoint, _cells(checkpoint, columns)) for checkpoint in checkpoints],
        baseline=BASELINE,
        baselines=_baselines(last, columns) if last else [],
        warnings=warnings(last.report["results"], own) if last else [],
        notes=[(c.heading, found) for c in own if last and (found := notes(last.report["results"], c))],
        real=data_uri(real) if real else None,
        grids=[(checkpoint.report, data_uri(checkpoint.grid)) for checkpoint in checkpoints if checkpoint.grid],
        provenance=_provenance(last) if last else [],
        config=json.dumps(last.report["config"], indent=2, sort_keys=True, ensure_ascii=False) if last else "",
    )


def heading(column: Column) -> str:
    """The heading of a column, with an arrow towards the better values."""
    return f"{column.heading}{ARROWS[column.better]}"


def inline_svg(drawing: bytes) -> Markup:
    """The element of an SVG document, without what precedes it."""
    text = drawing.decode()
    return Markup(text[text.index("<svg") :])


def data_uri(png: bytes) -> str:
    """A PNG file as part of a page."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def shown(value: float, error: float | None) -> tuple[str, str]:
    """A number with the digits that its error leaves, and the error with two: ("0.481", "0.094")."""
    if error is None or not 0 < error < math.inf:
        return f"{value:.4g}", ""
    digits = max(0, 1 - math.floor(math.log10(error)))
    return (f"{value:.{digits}f}", f"{error:.{digits}f}") if digits <= 6 else (f"{value:.4g}", f"{error:.2g}")


def cell(numbers: Mapping[str, float], path: str | None, error_path: str | None) -> Cell:
    """The number at `path` with its error bar; empty if it is missing."""
    if path is None or path not in numbers:
        return Cell()
    value, error = shown(numbers[path], numbers.get(error_path or ""))
    return Cell(value.replace("-", "−"), error, is_deviation(numbers, path))


def _cells(checkpoint: Checkpoint, columns: Sequence[Column]) -> list[Cell]:
    return [cell(checkpoint.numbers_of(c), c.path, c.error) for c in columns]


def _baselines(checkpoint: Checkpoint, columns: Sequence[Column]) -> list[Cell]:
    """The last row of the table; empty if no column has a baseline."""
    cells = [cell(checkpoint.numbers_of(c), c.baseline, c.baseline_error) for c in columns]
    return cells if any(each.value for each in cells) else []


def _provenance(checkpoint: Checkpoint) -> list[tuple[str, Any]]:
    """Date, wall time, sampler, commit, device, seed, what the results say of themselves, versions of libraries."""
    report, times = checkpoint.report, checkpoint.times
    known: list[tuple[str, Any]] = []
    if dates := sorted(line["time"] for line in times if "time" in line):
        known.append(("evaluated", dates[0]))
    if times:
        seconds: dict[str, float] = {}
        for line in times:
            seconds[line["task"]] = seconds.get(line["task"], 0) + line["seconds"]
        each = ", ".join(f"{name.replace('_', ' ')} {duration(value)}" for name, value in seconds.items())
        known.append(("wall time", f"{duration(sum(seconds.values()))} ({each})"))
    known += [(name, report[name]) for name in ("sampler", "commit") if report.get(name)]
    device = f"{report['num_devices']} × {report['device_kind']} ({report['backend']})"
    described = [(name.replace("_", " "), value) for name, value in facts(report["results"])]
    return [*known, ("device", device), ("seed", report["seed"]), *described, *sorted(report["versions"].items())]


def duration(seconds: float) -> str:
    """ "0.4 s", "12 s", "3:05 min" or "2:03 h"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"

"""A sweep compared: a CSV file, and an HTML page that needs nothing else."""

import csv
import io
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from core.files import write_text
from reports import html, plots
from reports.records import Column, best_index, by_rank, merged, numbers_for
from sweeps import table
from sweeps.runs import Run, State, Status, lines

LAST = 10  # lines of metrics whose mean is the loss of test batches, since a single batch is noisy
# What the log of training says: whatever has been evaluated decides before it.
TRAINING = (
    Column("loss", "training loss", "lower", rank=-2),
    Column("test_loss", "loss of test batches", "lower", rank=-1),
)


class Best(NamedTuple):
    """The number of the best run of a sweep, and the column by which it is the best."""

    run: int
    column: Column


class Row(NamedTuple):
    """A run in the table of the page, and among the samples."""

    name: str
    color: str
    dash: str
    overrides: list[str]
    state: str
    state_class: str
    cells: list[html.Cell]
    is_best: bool
    caption: str
    grid: str | None


def write(root: pathlib.Path, statuses: Sequence[Status]) -> list[pathlib.Path]:
    """Writes `report.csv` and `report.html` to `root`; returns their paths."""
    numbers = [numbers_of(status) for status in statuses]
    paths = [root / "report.csv", root / "report.html"]
    write_text(paths[0], as_csv(statuses, numbers))
    write_text(paths[1], as_html(root.absolute().name, statuses, numbers))
    return paths


def numbers_of(status: Status) -> dict[str, float]:
    """All numbers of a run by dotted name: of the log of training, and of the newest report."""
    losses = [line["test_loss"] for line in lines(status.run) if "test_loss" in line][-LAST:]
    logged = {"loss": status.loss, "test_loss": sum(losses) / len(losses) if losses else None}
    return {name: value for name, value in logged.items() if value is not None} | dict(status.numbers)


def columns_of(statuses: Sequence[Status]) -> list[Column]:
    """The columns of the log of training and of all reports."""
    return merged([TRAINING, *(status.columns for status in statuses)])


def _known(column: Column, status: Status, numbers: Mapping[str, float]) -> Mapping[str, float]:
    """The numbers of a run, for a column that it has."""
    return numbers_for(column, numbers, (*TRAINING, *status.columns))


def best(statuses: Sequence[Status], numbers: Sequence[Mapping[str, float]]) -> Best | None:
    """The best finished run by the column of the highest rank that all of them have; None before any is finished."""
    done = [k for k, status in enumerate(statuses) if status.state is State.FINISHED]
    for column in by_rank(columns_of(statuses)) if done else ():
        values = {k: _known(column, statuses[k], numbers[k]).get(column.path, math.nan) for k in done}
        if all(map(math.isfinite, values.values())):
            return Best(best_index(column, values), column)
    return None


def as_csv(statuses: Sequence[Status], numbers: Sequence[Mapping[str, float]]) -> str:
    """A line for each run: its overrides, and the value and error bar of every column that any run has."""
    keys = _overridden(statuses)
    pairs = list(zip(statuses, numbers, strict=True))
    headers = [(c, path) for c in columns_of(statuses) for path in (c.path, c.error) if path]
    headers = [(c, path) for c, path in headers if any(path in _known(c, *pair) for pair in pairs)]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["run", "state", *keys, "step", *(column.named(path) for column, path in headers)])
    for status, known in pairs:
        overrides = [_plain(status.run.overrides.get(key)) for key in keys]
        values = [_known(column, status, known).get(path, "") for column, path in headers]
        rows.writerow([status.run.name, str(status.state), *overrides, status.step, *values])
    return text.getvalue()


def as_html(title: str, statuses: Sequence[Status], numbers: Sequence[Mapping[str, float]]) -> str:
    """The page: results, curves of training, samples."""
    winner, keys = best(statuses, numbers), _overridden(statuses)
    (curves,) = plots.draw(_panels(statuses, winner), "svg", width=5.5, height=3.4)
    pairs = list(zip(statuses, numbers, strict=True))
    columns = [c for c in columns_of(statuses) if any(c.path in _known(c, *pair) for pair in pairs)]
    return html.render(
        "sweep.html",
        name=title,
        summary=table.summary(statuses),
        config=_config(statuses[0].run),
        best=winner and _described(winner, statuses, numbers),
        headings=["", *keys, "state", "step", *(html.heading(column) for column in columns)],
        rows=[_row(k, statuses[k], numbers[k], keys, columns, winner) for k in range(len(statuses))],
        curves=html.inline_svg(curves),
    )


def _described(winner: Best, statuses: Sequence[Status], numbers: Sequence[Mapping[str, float]]) -> dict[str, str]:
    value = numbers[winner.run][winner.column.path]
    return {"by": winner.column.heading, "run": statuses[winner.run].run.name, "value": table.number(value)}


def _row(
    index: int,
    status: Status,
    numbers: Mapping[str, float],
    keys: Sequence[str],
    columns: Sequence[Column],
    winner: Best | None,
) -> Row:
    color, dash = plots.style(index)
    overrides = status.run.overrides
    caption = ", ".join(f"{key.rpartition('.')[2]} = {_plain(value)}" for key, value in overrides.items())
    return Row(
        name=status.run.name,
        color=color,
        dash=dash,
        overrides=[str(_plain(overrides.get(key))) for key in keys],
        state=str(status.state),
        state_class=status.state.name.lower(),
        cells=[
            html.Cell(f"{status.step:,}"),
            *(html.cell(_known(c, status, numbers), c.path, c.error) for c in columns),
        ],
        is_best=winner is not None and index == winner.run,
        caption=caption or status.run.name,
        grid=_grid(status.run),
    )


def _panels(statuses: Sequence[Status], winner: Best | None) -> list[plots.Panel]:
    """The training loss and the loss of test batches, a curve for each run; the best run is drawn last."""
    order = sorted(range(len(statuses)), key=lambda k: winner is not None and k == winner.run)
    logged = [lines(status.run) for status in statuses]
    panels = []
    for column in TRAINING:
        curves = []
        for k in order:
            steps, values = plots.thinned(*plots.points(logged[k], column.path))
            color, dash = plots.style(k)
            width = 3 if winner is not None and k == winner.run else 1.6
            curves.append(plots.Curve(steps, values, color=color, dash=dash, width=width))
        if any(len(curve.steps) > 1 for curve in curves):
            panels.append(plots.Panel(column.heading, curves, logarithmic=plots.spans_factors(curves)))
    return panels


def _overridden(statuses: Sequence[Status]) -> list[str]:
    """Every key that any run sets."""
    return list(dict.fromkeys(key for status in statuses for key in status.run.overrides))


def _plain(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else "" if value is None else value


def _config(run: Run) -> str:
    return pathlib.Path(run.arguments[0].partition("=")[2]).name


def _grid(run: Run) -> str | None:
    """The newest grid of samples, as part of the page."""
    evaluated = sorted(run.directory.glob("eval/ckpt_*/samples.png"), key=_number)
    trained = sorted(run.directory.glob("samples/snapshot_*.png"), key=_number)
    return html.data_uri((evaluated or trained)[-1].read_bytes()) if evaluated or trained else None


def _number(path: pathlib.Path) -> int:
    name = path.parent.name if path.parent.name.startswith("ckpt_") else path.stem
    return int(name.rpartition("_")[2])

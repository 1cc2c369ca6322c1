"""All checkpoints of an evaluation at a glance: a table, curves, a page, and which checkpoint is best.

A pure function of the reports and pictures that are there: whoever makes it last, it is the same to the last byte.
"""

import csv
import io
import os
import pathlib

from core.files import locked, remove_stale, write_atomically, write_json
from reports import page, plots
from reports.records import CRITERIA, Best, Checkpoint, best_of, read

LOCK = ".overview.lock"


def rebuild(folder: str | os.PathLike) -> Best | None:
    """Writes `report.csv`, `report.png`, `report.html` and `best.json` of all `ckpt_*/report.json` in `folder`.

    Each file is whole or the one before. One worker at a time: a slower one cannot put back what it has read earlier.
    Returns the best checkpoint; None where no report has a finite number to compare by, and where there is only one:
    `best.json` names it all the same, for programs, and the page and a person are not told that it is the best.
    """
    folder = pathlib.Path(folder)
    with locked(folder / LOCK):
        checkpoints = read(folder)
        best = best_of(checkpoints)
        write_atomically(folder / "report.csv", lambda file: file.write(table(checkpoints).encode()))
        series = _series(checkpoints)
        write_atomically(folder / "report.png", lambda file: file.write(plots.draw(series, "png")))
        chosen = best if len(checkpoints) > 1 else None
        html = page.render(checkpoints, chosen, plots.draw(series, "svg").decode())
        write_atomically(folder / "report.html", lambda file: file.write(html.encode()))
        write_json(folder / "best.json", {} if best is None else best._asdict())
        remove_stale(folder)
    return chosen


def table(checkpoints: list[Checkpoint]) -> str:
    """All numbers as CSV: a row for each checkpoint, a column for each name; empty where there is no such number."""
    names = sorted({name for checkpoint in checkpoints for name in checkpoint.numbers})
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["checkpoint", "step", *names])
    for checkpoint in checkpoints:
        known = [checkpoint.numbers.get(name, "") for name in names]
        rows.writerow([checkpoint.report["checkpoint"], checkpoint.report["step"], *known])
    return text.getvalue()


def _series(checkpoints: list[Checkpoint]) -> list[plots.Series]:
    """What is drawn against steps: of each criterion the values with their errors, and the floor where there is one."""
    drawn = []
    for title, names in CRITERIA.items():
        points = [(c.report["step"], c.numbers) for c in checkpoints if names.value in c.numbers]
        if points:
            steps, numbers = zip(*points, strict=True)
            values, errors = [n[names.value] for n in numbers], [n.get(names.error, 0.0) for n in numbers]
            drawn.append(plots.Series(title, list(steps), values, errors, numbers[-1].get(names.floor)))
    return drawn

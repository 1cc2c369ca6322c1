"""All checkpoints of an evaluation at a glance: a table, curves, a page, and which checkpoint is best.

A pure function of the reports and grids of samples that exist: whichever worker writes it, the bytes are the same.
"""

import csv
import io
import os
import pathlib
from collections.abc import Sequence

from core.files import locked, remove_stale, write_atomically, write_json, write_text
from reports import html, plots
from reports.records import BASELINE, Best, Checkpoint, best_of, merged, read

LOCK = ".overview.lock"


def rebuild(folder: str | os.PathLike) -> Best | None:
    """Writes `report.csv`, `report.png`, `report.html` and `best.json` of all `ckpt_*/report.json` in `folder`.

    Each file is complete, or the previous version. Workers take turns, so that a slow one cannot restore what it read
    earlier. Returns the best checkpoint; None if no report has a number to compare by, and if there is only one report:
    `best.json` names its checkpoint all the same, for programs, but the page does not call it the best.
    """
    folder = pathlib.Path(folder)
    with locked(folder / LOCK):
        checkpoints = read(folder)
        best = best_of(checkpoints)
        png, svg = plots.draw(curves(checkpoints), "png", "svg")
        chosen = best if len(checkpoints) > 1 else None
        write_text(folder / "report.csv", table(checkpoints))
        write_atomically(folder / "report.png", lambda file: file.write(png))
        write_text(folder / "report.html", html.evaluation(checkpoints, chosen, svg))
        write_json(folder / "best.json", {} if best is None else best._asdict())
        remove_stale(folder)
    return chosen


def table(checkpoints: Sequence[Checkpoint]) -> str:
    """All numbers as CSV: a row for each checkpoint, a column for each name; empty where a checkpoint lacks it."""
    names = sorted({name for checkpoint in checkpoints for name in checkpoint.numbers})
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["checkpoint", "step", *names])
    for checkpoint in checkpoints:
        known = [checkpoint.numbers.get(name, "") for name in names]
        rows.writerow([checkpoint.report["checkpoint"], checkpoint.report["step"], *known])
    return text.getvalue()


def curves(checkpoints: Sequence[Checkpoint]) -> list[plots.Panel]:
    """A panel against steps for each column with a better direction."""
    panels = []
    for column in merged(checkpoint.columns for checkpoint in checkpoints):
        points = [(c.report["step"], c.numbers) for c in checkpoints if column.path in c.numbers]
        if not points or not column.better:
            continue
        steps, numbers = zip(*points, strict=True)
        values, errors = [n[column.path] for n in numbers], [n.get(column.error or "", 0.0) for n in numbers]
        baseline = numbers[-1].get(column.baseline or "")
        curve = plots.Curve(steps, values, errors, marker="o")
        panels.append(plots.Panel(column.heading, [curve], baseline, BASELINE))
    return panels

"""All checkpoints of an evaluation at a glance: a table, curves, a page, and which checkpoint is best.

A pure function of the files that exist (reports, grids of samples, times, the log of training): whichever worker writes
it last, the bytes are the same.
"""

import csv
import io
import os
import pathlib
from collections.abc import Sequence

from core.files import locked, remove_stale, write_atomically, write_json, write_text
from reports import html, plots
from reports.records import BASELINE, METRICS, Best, Checkpoint, best_of, merged, read, read_lines

LOCK = ".overview.lock"
REAL = "real.png"  # a grid of real examples, beside the folders of the checkpoints
# What the log of training has, and what it is called: each of the second is the loss of one batch of test data.
TRAINING = {"loss": "training loss", "test_loss": "test loss (one batch)"}


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
        panels = [*training_curves(folder.parent / METRICS), *curves(checkpoints)]
        png, svg = plots.draw(panels, "png", "svg")
        real = (folder / REAL).read_bytes() if (folder / REAL).exists() else None
        chosen = best if len(checkpoints) > 1 else None
        write_text(folder / "report.csv", table(checkpoints))
        write_atomically(folder / "report.png", lambda file: file.write(png))
        write_text(
            folder / "report.html",
            html.evaluation(checkpoints, chosen, svg if panels or not checkpoints else b"", real),
        )
        write_json(folder / "best.json", {} if best is None else best._asdict())
        remove_stale(folder)
    return chosen


def table(checkpoints: Sequence[Checkpoint]) -> str:
    """All numbers as CSV: a row for each checkpoint, a column for each name; empty where a checkpoint lacks it."""
    rows_of = [checkpoint.named_numbers() for checkpoint in checkpoints]
    names = sorted({name for known in rows_of for name in known})
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["checkpoint", "step", *names])
    for checkpoint, known in zip(checkpoints, rows_of, strict=True):
        values = [known.get(name, "") for name in names]
        rows.writerow([checkpoint.report["checkpoint"], checkpoint.report["step"], *values])
    return text.getvalue()


def curves(checkpoints: Sequence[Checkpoint]) -> list[plots.Panel]:
    """A panel against steps for each column with a better direction that several checkpoints have."""
    panels = []
    for column in merged(checkpoint.columns for checkpoint in checkpoints):
        points = [(c.report["step"], c.numbers) for c in checkpoints if column.path in c.numbers_of(column)]
        if len(points) < 2 or not column.better:
            continue
        steps, numbers = zip(*points, strict=True)
        values, errors = [n[column.path] for n in numbers], [n.get(column.error or "", 0.0) for n in numbers]
        baseline = numbers[-1].get(column.baseline or "")
        curve = plots.Curve(steps, values, errors, marker="o")
        panels.append(plots.Panel(column.heading, [curve], baseline, BASELINE))
    return panels


def training_curves(path: pathlib.Path) -> list[plots.Panel]:
    """A panel for each loss in a log of training that has several lines of it."""
    lines, panels = read_lines(path), []
    for name, title in TRAINING.items():
        steps, values = plots.thinned(*plots.points(lines, name))
        if len(steps) > 1:
            curve = plots.Curve(steps, values)
            panels.append(plots.Panel(title, [curve], logarithmic=plots.spans_factors([curve])))
    return panels

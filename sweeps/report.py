"""A sweep compared: a CSV file, and an HTML page that needs nothing but itself."""

import base64
import csv
import html
import io
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from core.files import write_text
from sweeps import chart, table
from sweeps.runs import Run, State, Status, lines, newest_report

_STYLE = (pathlib.Path(__file__).parent / "report.css").read_text(encoding="utf-8")
# What decides which run is the best: the first of these that every finished run has, the lowest wins.
CRITERIA = {"fid": "FID", "bits_per_dim": "bits/dim", "test_loss": "test loss", "loss": "loss"}
_LAST = 10  # lines of metrics of which the test loss is the mean, since one batch alone is noisy


def write(root: pathlib.Path, statuses: Sequence[Status]) -> list[pathlib.Path]:
    """Writes `report.csv` and `report.html` to `root`; their paths."""
    rows = [figures(status) for status in statuses]
    criterion, winner = best(statuses, rows)
    paths = [root / "report.csv", root / "report.html"]
    write_text(paths[0], as_csv(rows))
    write_text(paths[1], as_html(root.absolute().name, statuses, rows, criterion, winner))
    return paths


def figures(status: Status) -> dict[str, Any]:
    """A row of the table: name, state, overrides, figures. None for what is not known."""
    losses = [line["test_loss"] for line in lines(status.run) if "test_loss" in line][-_LAST:]
    results = newest_report(status.run)
    return {
        "run": status.run.name,
        "state": str(status.state),
        **{key: _plain(value) for key, value in status.run.overrides.items()},
        "step": status.step,
        "loss": status.loss,
        "test_loss": sum(losses) / len(losses) if losses else None,
        "bits_per_dim": status.bits_per_dim,
        "bits_per_dim_error": results.get("bits_per_dim", {}).get("standard_error"),
        "fid": status.fid,
    }


def _plain(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def best(statuses: Sequence[Status], rows: Sequence[dict[str, Any]]) -> tuple[str | None, int | None]:
    """By what runs are compared, and the number of the best one; None, None before any is finished."""
    done = [k for k, status in enumerate(statuses) if status.state is State.FINISHED]
    for name in CRITERIA:
        values = {k: rows[k][name] for k in done}
        if done and all(value is not None and math.isfinite(value) for value in values.values()):
            return name, min(done, key=lambda k: values[k])
    return None, None


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """One line for each run; a column for each key that any of them sets."""
    text = io.StringIO()
    keys = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, [*_overridden(rows, keys), *(k for k in keys if k in _FIGURES)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _overridden(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[str]:
    return ["run", "state", *(key for key in keys if key not in _FIGURES and key not in ("run", "state"))]


def as_html(
    title: str, statuses: Sequence[Status], rows: Sequence[dict[str, Any]], criterion: str | None, winner: int | None
) -> str:
    """The page: figures, curves, samples."""
    name = html.escape(title)
    about = html.escape(f"{table.summary(statuses)}. Config: {_config(statuses[0].run)}.")
    if winner is not None and criterion is not None:
        value = table.number(rows[winner][criterion])
        about += f" Best by {CRITERIA[criterion]}: <b>{html.escape(rows[winner]['run'])}</b> ({value})."
    loss = chart.curves(_curves(statuses, "loss", winner), "step", "training loss")
    test = chart.curves(_curves(statuses, "test_loss", winner), "step", "loss of a test batch")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title><style>{_STYLE}</style></head><body><main>
<h1>{name}</h1><p class="about">{about}</p>
<section class="scroll">{_rows(statuses, rows, winner)}</section>
<h2>Loss</h2><section class="charts"><figure>{loss}</figure><figure>{test}</figure></section>
<h2>Samples</h2><section class="samples">{"".join(_samples(status, k == winner) for k, status in enumerate(statuses))}
</section></main></body></html>
"""


def _config(run: Run) -> str:
    return pathlib.Path(run.arguments[0].partition("=")[2]).name


def _curves(statuses: Sequence[Status], name: str, winner: int | None) -> list[chart.Curve]:
    return [
        chart.Curve(
            status.run.name, [(line["step"], line[name]) for line in lines(status.run) if name in line], k == winner
        )
        for k, status in enumerate(statuses)
    ]


def _rows(statuses: Sequence[Status], rows: Sequence[dict[str, Any]], winner: int | None) -> str:
    keys = list(dict.fromkeys(key for status in statuses for key in status.run.overrides))
    shown = [key for key in _FIGURES if any(row[key] is not None for row in rows) and key != "bits_per_dim_error"]
    head = "".join(f"<th>{html.escape(title)}" for title in ["", *keys, "state", *(_FIGURES[key] for key in shown)])
    body = []
    for k, (status, row) in enumerate(zip(statuses, rows, strict=True)):
        cells = [_cell(row.get(key)) for key in keys]
        cells.append(f'<td><span class="{status.state.name.lower()}">{status.state}</span>')
        cells += [_cell(row[key]) for key in shown]
        body.append(f'<tr{" class=best" if k == winner else ""} title="{html.escape(row["run"])}"><td>{_key(k)}')
        body.append("".join(cells))
    return f"<table><thead><tr>{head}</thead><tbody>{''.join(body)}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"<td class=number>{table.number(value)}"
    return (
        f"<td class=number>{value:,}"
        if type(value) is int
        else f"<td>{html.escape('' if value is None else str(value))}"
    )


def _key(index: int) -> str:
    """The line of run `index`, as in the charts."""
    stroke = f'stroke="{chart.COLOURS[index % len(chart.COLOURS)]}" stroke-dasharray="{chart.dashes(index)}"'
    return f'<svg class="key" viewBox="0 0 28 8"><line x1="0" x2="28" y1="4" y2="4" {stroke} stroke-width="3"/></svg>'


def _samples(status: Status, is_best: bool) -> str:
    """The newest grid of samples, as part of the page."""
    evaluated = sorted(status.run.directory.glob("eval/ckpt_*/samples.png"), key=_number)
    drawn = sorted(status.run.directory.glob("samples/snapshot_*.png"), key=_number)
    overrides = ", ".join(f"{key.rpartition('.')[2]} = {_plain(v)}" for key, v in status.run.overrides.items())
    caption = f"<figcaption>{html.escape(overrides or status.run.name)}{' <b>best</b>' if is_best else ''}</figcaption>"
    if not evaluated and not drawn:
        return f'<figure><div class="none">no samples yet</div>{caption}</figure>'
    image = base64.b64encode((evaluated or drawn)[-1].read_bytes()).decode()
    return f'<figure><img alt="samples" src="data:image/png;base64,{image}">{caption}</figure>'


def _number(path: pathlib.Path) -> int:
    name = path.parent.name if path.parent.name.startswith("ckpt_") else path.stem
    return int(name.rpartition("_")[2])


_FIGURES = {
    "step": "step",
    "loss": "loss",
    "test_loss": "test loss",
    "bits_per_dim": "bits/dim",
    "bits_per_dim_error": "standard error",
    "fid": "FID",
}

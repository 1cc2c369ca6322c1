"""The overview of an evaluation as one page that needs nothing else: no script, no font, no picture from elsewhere."""

import base64
import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from reports.estimate import warnings_of
from reports.records import Best, Checkpoint


class Column(NamedTuple):
    """A figure of the table: its heading, and where a report has its value, error and floor, as dotted names."""

    heading: str
    value: str
    error: str
    floor: str = ""


def render(checkpoints: Sequence[Checkpoint], best: Best | None, drawing: str) -> str:
    """The page as HTML. `drawing`: the curves as an SVG document."""
    config = checkpoints[-1].report["config"] if checkpoints else {}
    subject = " · ".join(config[section][key] for section, key in SUBJECT) if config else "nothing yet"
    sections = [
        f"<header><h1>Evaluation</h1><p>{html.escape(subject)}</p></header>",
        f'<p class="best">Best: {html.escape(str(best))}</p>' if best else "",
        _section("Curves", f'<div class="curves">{_inner(drawing)}</div>'),
        _section("Figures", _table(checkpoints, best) + _remarks(checkpoints)),
        _section("Samples", _samples(checkpoints)),
        _section("How they were made", _provenance(checkpoints)),
    ]
    body = "\n".join(section for section in sections if section)
    head = f'<meta charset="utf-8"><title>Evaluation: {html.escape(subject)}</title><style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body><main>\n{body}\n</main></body></html>\n'


def shown(value: float, error: float | None) -> tuple[str, str]:
    """A number with the digits that its error leaves, and the error with two: ("0.481", "0.094")."""
    if error is None or not 0 < error < math.inf:
        return f"{value:.4g}", ""
    digits = max(0, 1 - math.floor(math.log10(error)))
    return (f"{value:.{digits}f}", f"{error:.{digits}f}") if digits <= 6 else (f"{value:.4g}", f"{error:.2g}")


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>\n{content}</section>" if content else ""


def _inner(drawing: str) -> str:
    """The element of an SVG document, without what stands before it."""
    return drawing[drawing.index("<svg") :]


def _table(checkpoints: Sequence[Checkpoint], best: Best | None) -> str:
    columns = [column for column in COLUMNS if any(column.value in c.numbers for c in checkpoints)]
    head = "".join(f"<th>{column.heading}</th>" for column in columns)
    rows = []
    for checkpoint in checkpoints:
        report, numbers = checkpoint.report, checkpoint.numbers
        cells = "".join(_cell(numbers, column.value, column.error) for column in columns)
        mark = ' class="chosen"' if best and report["checkpoint"] == best.checkpoint else ""
        rows.append(f"<tr{mark}><th>{report['checkpoint']}</th><td>{report['step']:,}</td>{cells}</tr>")
    floors = ""
    if checkpoints and any(column.floor in checkpoints[-1].numbers for column in columns):
        last = checkpoints[-1].numbers
        cells = "".join(_cell(last, c.floor, c.floor.removesuffix("value") + "error") for c in columns)
        floors = f'<tfoot><tr><th colspan="2">data against data</th>{cells}</tr></tfoot>'
    return (
        f'<div class="wide"><table><thead><tr><th>checkpoint</th><th>steps</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody>{floors}</table></div>"
    )


def _cell(numbers: Mapping[str, float], name: str, error_name: str) -> str:
    if name not in numbers:
        return "<td></td>"
    value, error = shown(numbers[name], numbers.get(error_name))
    is_deviation = f"{name.rpartition('.')[0]}.standard_deviation" in numbers  # all others are standard errors
    bar = f"<small>± {error}{' (deviation)' if is_deviation else ''}</small>" if error else ""
    return f"<td>{value.replace('-', '−')}{bar}</td>"


def _remarks(checkpoints: Sequence[Checkpoint]) -> str:
    """What the metrics warn of, for everybody to see; what the errors are, and how many images there were."""
    if not checkpoints:
        return ""
    results = checkpoints[-1].report["results"]
    figures = results.get("metrics", {}).get("samples", {})
    lines = [f"{heading}: {results[name]['num_examples']:,} images." for name, heading in TASKS if name in results]
    lines += [
        f"{_heading(name)}: {figure['error_from']}; {_count(figure, 'num_samples', 'samples')}"
        f"{_count(figure, 'num_real', 'data', ', ')}."
        for name, figure in figures.items()
    ]
    warnings = warnings_of(results["metrics"]) if "metrics" in results else []
    told = "".join(f'<p class="warning">{html.escape(warning)}.</p>' for warning in warnings)
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    details = f"<details><summary>Errors and numbers of images</summary><ul>{items}</ul></details>" if items else ""
    return told + details


def _count(figure: Mapping[str, Any], key: str, noun: str, before: str = "") -> str:
    return f"{before}{figure[key]:,} {noun}" if figure.get(key) else ""


def _heading(name: str) -> str:
    return next((c.heading.split()[0] for c in COLUMNS if c.value == f"metrics.samples.{name}.value"), name)


def _samples(checkpoints: Sequence[Checkpoint]) -> str:
    figures = []
    for checkpoint in checkpoints:
        if checkpoint.picture is None:
            continue
        report = checkpoint.report
        calls = checkpoint.numbers.get("samples.num_evals")
        told = f"Checkpoint {report['checkpoint']} · {report['step']:,} steps"
        told += f" · {calls:g} evaluations" if calls else ""
        source = f"data:image/png;base64,{base64.b64encode(checkpoint.picture).decode()}"
        alt = f"Samples of checkpoint {report['checkpoint']}"
        figures.append(f'<figure><img src="{source}" alt="{alt}"><figcaption>{told}</figcaption></figure>')
    return f'<div class="grids">{"".join(figures)}</div>' if figures else ""


def _provenance(checkpoints: Sequence[Checkpoint]) -> str:
    """Libraries, device, features and seed of the last checkpoint, and its config."""
    if not checkpoints:
        return ""
    report = checkpoints[-1].report
    metrics = report["results"].get("metrics", {})
    device = f"{report['num_devices']} × {report['device_kind']} ({report['backend']})"
    known = [("device", device), ("seed", report["seed"])]
    if metrics:
        known += [("features", metrics["features"]), ("SHA-256 of the features", metrics["features_hash"])]
    known += sorted(report["versions"].items())
    config = html.escape(json.dumps(report["config"], indent=2, sort_keys=True, ensure_ascii=False))
    return f"<dl>{_terms(known)}</dl><details><summary>Config</summary><pre>{config}</pre></details>"


def _terms(pairs: Iterable[tuple[str, Any]]) -> str:
    return "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd></div>" for name, value in pairs
    )


def _metric(heading: str, name: str) -> Column:
    path = f"metrics.samples.{name}"
    return Column(heading, f"{path}.value", f"{path}.error", f"metrics.data_against_data.{name}.value")


SUBJECT = (("data", "dataset"), ("model", "name"), ("training", "sde"))
TASKS = (("loss", "Loss"), ("bits_per_dim", "Bits/dim"))
COLUMNS = (
    Column("loss ↓", "loss.mean", "loss.standard_error"),
    Column("bits/dim ↓", "bits_per_dim.mean", "bits_per_dim.standard_error"),
    _metric("FID ↓", "fid"),
    _metric("FID∞ ↓", "fid_infinity"),
    _metric("KID ↓", "kid"),
    _metric("IS ↑", "inception_score"),
    _metric("precision ↑", "precision"),
    _metric("recall ↑", "recall"),
    _metric("density ↑", "density"),
    _metric("coverage ↑", "coverage"),
)
STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #23272e; font: 15px/1.5 "Segoe UI", Arial, "Liberation Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 28px 64px; }
h1 { font-size: 27px; margin: 0; letter-spacing: -0.01em; }
header p { margin: 2px 0 20px; color: #626a76; }
h2 { font-size: 17px; margin: 36px 0 12px; }
.best { margin: 0; padding: 10px 14px; background: #eef4fb; border-left: 3px solid #1f5fa8; border-radius: 3px; }
.curves svg { display: block; width: 100%; height: auto; max-height: 320px; }
.curves svg text { font-family: inherit !important; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 10px; text-align: right; vertical-align: top; white-space: nowrap; }
thead th { font-size: 13px; font-weight: 600; color: #626a76; border-bottom: 1px solid #c9ced6; }
tbody tr + tr > * { border-top: 1px solid #eceef2; }
tfoot > tr > * { border-top: 1px solid #c9ced6; color: #626a76; font-weight: 400; }
th:first-child { text-align: left; }
td small { display: block; font-size: 12px; line-height: 1.3; color: #7b838f; }
.chosen > * { background: #eef4fb; }
.chosen > th { color: #1f5fa8; }
.grids { display: grid; grid-template-columns: repeat(auto-fill, minmax(310px, 1fr)); gap: 20px; }
figure { margin: 0; }
img { display: block; width: 100%; border-radius: 3px; }
figcaption { margin-top: 6px; font-size: 13px; color: #626a76; }
details { margin-top: 14px; font-size: 14px; }
summary { cursor: pointer; color: #1f5fa8; }
ul { margin: 8px 0 0; padding-left: 20px; }
.warning { margin: 10px 0 0; font-size: 14px; color: #8a5a00; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 10px 24px; margin: 0; }
dt { font-size: 12px; color: #7b838f; }
dd { margin: 0; overflow-wrap: anywhere; }
pre { padding: 14px; background: #f6f7f9; border-radius: 4px; overflow-x: auto; font-size: 12px; line-height: 1.45; }
"""

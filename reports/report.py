"""What an evaluation leaves behind: pictures, sample files and reports, each written whole or not at all."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from core.files import write_json
from reports.estimate import is_deviation, warnings_of


def write_report(directory: str | os.PathLike, report: Mapping[str, Any]) -> pathlib.Path:
    """Writes `report` to `report.json` in `directory` and returns its path; see `write_json`."""
    path = pathlib.Path(directory) / "report.json"
    write_json(path, report)
    return path


def summary(path: str | os.PathLike) -> str:
    """What a person wants to see of a report: its figures, and where the samples and the report lie."""
    path = pathlib.Path(path)
    report = json.loads(path.read_text(encoding="utf-8"))
    results = report["results"]
    lines = [f"Checkpoint {report['checkpoint']}, after {report['step']} steps"]
    noun = "images" if len(report["config"]["data"].get("shape") or "HWC") == 3 else "examples"
    for name, unit in (("bits_per_dim", "bits/dim"), ("nats_per_dim", "nats/dim")):
        if likelihood := results.get(name):
            lines.append(f"  {report['config']['eval']['bpd_dataset']} {unit}  {_with_error(likelihood, noun)}")
    if loss := results.get("loss"):
        lines.append(f"  test loss      {_with_error(loss, noun)}")
    if samples := results.get("samples"):
        lines.append(f"  samples        {path.with_name('samples.png')}  ({samples['num_evals']:g} evaluations each)")
    if measured := results.get("metrics"):
        floor = measured["data_against_data"]
        for name, figure in measured["samples"].items():
            shown = f"{figure['value']:.4g} +- {figure['error'] or 0:.2g}"
            remarks = [f"data against data {floor[name]['value']:.4g}", measured["features"]]
            if is_deviation(figure):  # all other errors are standard errors
                remarks.insert(0, f"+- {figure['error_from']}")
            lines.append(f"  {name:<16}{shown}  ({'; '.join(remarks)})")
    return "\n".join([*lines, f"  report         {path}"])


def figures(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each of the metrics `measured`; of an error that is no standard error, what it is."""
    return "\n".join(
        f"{name:<16}{figure['value']:.5g} +- {figure['error']:.2g}"
        + (f"  (+- {figure['error_from']})" if is_deviation(figure) else "")
        for name, figure in measured.items()
    )


def warnings(path: str | os.PathLike) -> list[str]:
    """What the metrics of a report warn of, each sentence once."""
    results = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["results"]
    return warnings_of(results["metrics"]) if "metrics" in results else []


def _with_error(figures: Mapping[str, Any], noun: str) -> str:
    return f"{figures['mean']:.4f} +- {figures['standard_error']:.4f}  ({figures['num_examples']} {noun})"

"""The reports of all checkpoints of an evaluation, and which checkpoint is best."""

import json
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class Checkpoint(NamedTuple):
    """The report of a checkpoint, its numbers by dotted names, and its grid of samples as a PNG file, if it has one."""

    report: dict[str, Any]
    numbers: dict[str, float]
    picture: bytes | None


class Best(NamedTuple):
    """The best checkpoint, after how many steps, and by what: a key of `CRITERIA` and its value."""

    checkpoint: int
    step: int
    by: str
    value: float

    def __str__(self) -> str:
        return f"checkpoint {self.checkpoint}, after {self.step:,} steps, by {self.by}: {self.value:.4g}"


class Names(NamedTuple):
    """Where a report has a value, its error, and what data reach against data."""

    value: str
    error: str
    floor: str = ""


def read(folder: pathlib.Path) -> list[Checkpoint]:
    """What the finished checkpoints say, in the order of their numbers."""
    found = []
    for path in folder.glob("ckpt_*/report.json"):
        report = json.loads(path.read_text(encoding="utf-8"))
        picture = path.with_name("samples.png")
        content = picture.read_bytes() if "samples" in report["results"] and picture.exists() else None
        found.append(Checkpoint(report, dict(_numbers(report["results"])), content))
    return sorted(found, key=lambda checkpoint: checkpoint.report["checkpoint"])


def best_of(checkpoints: Sequence[Checkpoint]) -> Best | None:
    """The checkpoint with the least FID, else bits/dim, else loss; of equal ones the first."""
    for by, names in CRITERIA.items():
        having = [(c.numbers[names.value], c.report["checkpoint"], c) for c in checkpoints if names.value in c.numbers]
        if having:
            value, number, best = min(having, key=lambda one: one[:2])
            return Best(number, best.report["step"], by, value)
    return None


def _numbers(results: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """("bits_per_dim.mean", 3.2) for every finite number."""
    for name, value in results.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and math.isfinite(value):
            yield f"{prefix}{name}", value


# By what checkpoints are compared, the first that any of them has; the least is the best.
CRITERIA = {
    "FID": Names("metrics.samples.fid.value", "metrics.samples.fid.error", "metrics.data_against_data.fid.value"),
    "bits/dim": Names("bits_per_dim.mean", "bits_per_dim.standard_error"),
    "loss": Names("loss.mean", "loss.standard_error"),
}

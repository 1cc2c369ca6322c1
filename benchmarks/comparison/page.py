"""The tables of the comparison, what follows from their numbers, and the page."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.comparison.families import EXPERTS, FAMILIES, Family
from evaluation.metrics.base import mean_over_examples
from reports import html
from reports.records import Estimate

Results = Mapping[str, Sequence[Mapping[str, Any]]]  # by the name of a family: figures of each seed


class Column(NamedTuple):
    """A figure: its heading, how a number is written, and whether more is better (1), less (-1), or neither (0)."""

    name: str
    heading: str
    form: str
    better: int = 0


COLUMNS = (
    Column("parameters", "parameters", ",.0f"),
    Column("steps", "steps", ",.0f"),
    Column("bits/dim", "bits/dim", ".3f", -1),
    Column("accuracy", "word given image", ".3f", 1),
    Column("class match", "image given word", ".3f", 1),
    Column("calls", "network calls", ",.0f"),
    Column("seconds per sample", "seconds per sample", ".4f", -1),
    Column("novelty", "novelty", ".2f"),
    Column("near copies", "near copies", ".3f"),
)
EXPERT_COLUMNS = (
    Column("parameters", "parameters", ",.0f"),
    Column("active parameters", "active", ",.0f"),
    Column("steps", "steps", ",.0f"),
    Column("loss of image", "loss of image", ".4f", -1),
    Column("loss of text", "loss of text", ".4f", -1),
    Column("bits/dim", "bits/dim", ".3f", -1),
    Column("accuracy", "word given image", ".3f", 1),
    Column("entropy of experts", "entropy / log E", ".3f"),
    Column("experts by modality", "difference by modality", ".3f"),
    Column("training seconds", "training seconds", ",.0f"),
)


def statistic(results: Results, family: Family, column: Column) -> Estimate | None:
    """The mean of a figure over seeds, with the error NaN for one seed; None where a family does not have it."""
    values = [float(each[column.name]) for each in results[family.name] if column.name in each]
    return mean_over_examples(np.array(values)) if values else None


def cell(found: Estimate | None, column: Column) -> str:
    """A number with its error."""
    if found is None:
        return ""
    error = f" ± {found.error:{column.form}}" if found.error > 0 else ""
    return f"{found.value:{column.form}}{error}"


def rows(results: Results, families: Sequence[Family], columns: Sequence[Column]) -> list[list[str]]:
    """The headings, and a row for each family that there are results of."""
    shown = [family for family in families if results.get(family.name)]
    table = [["family", *(column.heading for column in columns)]]
    for family in shown:
        cells = [cell(statistic(results, family, column), column) for column in columns]
        marks = {"bits/dim": "" if family.likelihood == "exact" else "≤ ", "accuracy": ""}
        table.append([family.title, *(marks.get(c.name, "") + text for c, text in zip(columns, cells, strict=True))])
    return table


def markdown(table: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([lines[0], "|" + " --- |" * len(table[0]), *lines[1:]])


def conclusions(results: Results) -> list[str]:
    """Sentences that follow from the numbers of the tables, and from nothing else."""
    several = sum(bool(results.get(family.name)) for family in FAMILIES) > 1
    found = [best(results, column) for column in COLUMNS if column.better and several]
    for column in (c for c in COLUMNS if c.name in ("accuracy", "class match")):
        known = {f: s for f in FAMILIES if results.get(f.name) and (s := statistic(results, f, column))}
        if not known:
            continue
        chance = [f.title for f, s in known.items() if s.value <= 0.1]
        found.append(
            f"{column.heading}: {'all rows are' if not chance else ', '.join(chance) + ': not'} above chance, 0.1."
        )
    return [*found, *_of_experts(results)]


def best(results: Results, column: Column) -> str:
    """Which family is the best in a column, and whether the second is within two standard errors of the difference."""
    known = [(f, s) for f in FAMILIES if results.get(f.name) and (s := statistic(results, f, column))]
    ordered = sorted(known, key=lambda pair: -column.better * pair[1].value)
    (first, a), (second, b) = ordered[:2]
    sentence = f"{column.heading}: {first.title} is the best with {cell(a, column)}"
    apart = abs(a.value - b.value) > 2 * float(np.hypot(a.error, b.error))  # False where an error is not known
    how = "more than" if apart else "not more than"
    gap = f", {how} two standard errors from" if np.isfinite(a.error + b.error) else ", of one seed, before"
    unlike = column.name == "bits/dim" and first.likelihood != second.likelihood
    note = "; a bound can only be too large" if unlike else ""
    return f"{sentence}{gap} {second.title} with {cell(b, column)}{note}."


def _of_experts(results: Results) -> list[str]:
    """The held-out losses of mixtures over that of the perceptrons, and how evenly experts are used."""
    losses = [column for column in EXPERT_COLUMNS if column.name.startswith("loss")]
    total = {}
    for family in EXPERTS:
        parts = [statistic(results, family, column) for column in losses] if results.get(family.name) else []
        if parts and all(parts):
            total[family.name] = sum(part.value for part in parts if part)
    sentences = []
    for family in EXPERTS[1:]:
        if family.name in total and EXPERTS[0].name in total:
            ratio = total[family.name] / total[EXPERTS[0].name]
            even = statistic(results, family, next(c for c in EXPERT_COLUMNS if c.name == "entropy of experts"))
            sentences.append(
                f"{family.title}: the held-out loss is {ratio:.3f} of that of perceptrons of the active size; "
                f"the entropy of experts is {even.value if even else float('nan'):.3f} of log E."
            )
    return sentences


def as_html(
    title: str, about: Sequence[str], tables: Mapping[str, Sequence[Sequence[str]]], found: Sequence[str]
) -> str:
    """The page."""
    return html.render("tables.html", title=title, about=about, tables=tables, conclusions=found)

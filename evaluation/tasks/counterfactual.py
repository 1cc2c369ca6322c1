"""The task that compares counterfactuals with the truth, by several methods."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluation.metrics.base import mean_over_examples
from evaluation.rounds import Arrays, Task, check_coverage, join
from evaluation.tasks.per_example import Fetch
from reports.records import Column

MEASURES = {
    "effect": ("effect error", "lower"),
    "descendants": ("descendant error", "lower"),
    "nuisance": ("nuisance error", "lower"),
    "psnr": ("PSNR / dB", "higher"),
}
ALONE = {"null_psnr": ("null intervention, PSNR / dB", "higher"), "reversed_psnr": ("undone, PSNR / dB", "higher")}


class Compared(NamedTuple):
    """Figures [B] of each method by (intervention, method, measure), and those of the model `alone`, by name."""

    figures: Mapping[tuple[str, str, str], np.ndarray]
    alone: Mapping[str, np.ndarray]


def counterfactual_task(
    num_examples: int,
    batch_size: int,
    fetch: Fetch,
    compare: Callable[[dict[str, Any]], Compared],
    interventions: Sequence[str],
    methods: Sequence[str],
    measures: Sequence[str],
) -> Task:
    """The `measures` of each method, the mean over examples and interventions, with standard errors over examples.

    The first of the `methods` is the model. Those of each intervention are in the summary, too. Errors are in standard
    deviations of the field over the data. Errors: ValueError if rounds do not belong to `num_examples` and
    `batch_size`.
    """

    def run(round_number: int) -> Arrays:
        batch = dict(fetch(round_number))
        counted = np.asarray(batch["counted"]) > 0
        figures, alone = compare(batch)
        arrays = {"index": np.asarray(batch["index"]), **alone}
        arrays |= {".".join(key): values for key, values in figures.items()}
        return {key: values[counted] for key, values in arrays.items()}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, Any]:
        joined = join(rounds)
        check_coverage("counterfactual", joined["index"], num_examples)

        def of(method: str, names: Sequence[str]) -> dict[str, Any]:
            found = {}
            for measure in measures:
                parts = [joined[key] for name in names if (key := f"{name}.{method}.{measure}") in joined]
                if parts:
                    found[measure] = mean_over_examples(np.mean(parts, axis=0)).to_dict()
            return found

        first, *others = (of(method, interventions) for method in methods)
        summary: dict[str, Any] = first | dict(zip(methods[1:], others, strict=True))
        summary |= {key: mean_over_examples(joined[key]).to_dict() for key in ALONE}
        summary["interventions"] = {name: {method: of(method, [name]) for method in methods} for name in interventions}
        return summary | {"num_examples": num_examples}

    columns = [_column(key, *ALONE[key]) for key in ALONE]
    for k, method in enumerate(methods):
        prefix, suffix = (f"{method}.", f", {method.replace('_', ' ')}") if k else ("", "")
        columns += [_column(prefix + key, MEASURES[key][0] + suffix, MEASURES[key][1]) for key in measures]
    return Task("counterfactual", -(-num_examples // batch_size), run, summarize, tuple(columns))


def _column(path: str, heading: str, better: Any) -> Column:
    return Column(f"{path}.value", heading, better, error=f"{path}.error")

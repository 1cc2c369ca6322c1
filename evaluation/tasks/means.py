"""The task that averages several figures of each example, such as whether each of some methods is right."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.metrics.base import mean_over_examples
from evaluation.rounds import Arrays, Task, check_coverage, join
from evaluation.tasks.per_example import Fetch
from reports.records import Better, Column

Figures = Mapping[str, tuple[str, Better]]  # by name: heading, and which values are better


def means_task(
    name: str,
    num_examples: int,
    batch_size: int,
    fetch: Fetch,
    measure: Callable[[dict[str, Any]], Mapping[str, Any]],
    figures: Figures,
) -> Task:
    """The mean of each of the `figures` [B] that `measure` returns for a batch, with its standard error.

    NaN: the example does not count for this figure. Every example counts once, without padding; the first figure is the
    column of the highest rank. Errors: ValueError if rounds do not belong to `num_examples` and `batch_size`.
    """

    def run(round_number: int) -> Arrays:
        batch = dict(fetch(round_number))
        counted = np.asarray(batch["counted"]) > 0
        found = {key: np.asarray(value, np.float64) for key, value in measure(batch).items()}
        return {key: value[counted] for key, value in {**found, "index": np.asarray(batch["index"])}.items()}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, Any]:
        joined = join(rounds)
        check_coverage(name, joined["index"], num_examples)
        known = {key: joined[key][~np.isnan(joined[key])] for key in figures}
        return {key: mean_over_examples(values).to_dict() for key, values in known.items() if len(values)}

    columns = tuple(
        Column(f"{key}.value", heading, better, error=f"{key}.error", rank=0 if k else 2)
        for k, (key, (heading, better)) in enumerate(figures.items())
    )
    return Task(name, -(-num_examples // batch_size), run, summarize, columns)

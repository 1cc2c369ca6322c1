"""The task that measures predictions of the examples of a data set, such as the accuracy of a classifier."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.metrics.base import Codes, Ensembles, Masks, Pairs
from evaluation.metrics.table import METRICS, measure
from evaluation.rounds import Arrays, Task, check_coverage, join
from evaluation.tasks.per_example import Fetch
from reports.records import Column

# From a batch to some of "features", "logits" and "labels"; "features" and "real_features"; "prediction" and "truth";
# "ensemble" and "truth"; "scores" and "mask"; "tokens": an array [B, ...] each.
Predict = Callable[[dict[str, Any]], Mapping[str, Any]]


def measured_task(
    name: str,
    num_examples: int,
    batch_size: int,
    fetch: Fetch,
    predict: Predict,
    metrics: Sequence[str],
    *,
    value_range: float | None = None,
    num_codes: int = 0,
) -> Task:
    """The `metrics` of what is predicted for every example, each counted once, without padding.

    The files keep the arrays that `predict` returns. The summary has the estimate of each metric by its name, see
    `evaluation.metrics.table.measure`; the columns are those of the metrics. value_range: of pairs. num_codes:
    of tokens. Raises ValueError for a metric whose input is missing, and if rounds do not belong to `num_examples` and
    `batch_size`.
    """

    def run(round_number: int) -> Arrays:
        batch = dict(fetch(round_number))
        counted = np.asarray(batch["counted"]) > 0
        arrays = {key: np.asarray(value)[counted] for key, value in predict(batch).items()}
        return arrays | {"index": np.asarray(batch["index"])[counted]}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, Any]:
        joined = join(rounds)
        check_coverage(name, joined.pop("index"), num_examples)
        estimates = measure(**_inputs(joined, value_range, num_codes), names=metrics)
        return {key: estimate.to_dict() for key, estimate in estimates.items()}

    columns: tuple[Column, ...] = tuple(METRICS[metric].column.below(metric) for metric in metrics)
    return Task(name, -(-num_examples // batch_size), run, summarize, columns)


def _inputs(arrays: Arrays, value_range: float | None, num_codes: int) -> dict[str, Any]:
    """The arguments of `measure`."""
    found: dict[str, Any] = {"samples": {key: arrays[key] for key in ("features", "logits") if key in arrays}}
    if "real_features" in arrays:
        found["real"] = {"features": arrays["real_features"]}
    if "tokens" in arrays:
        found["codes"] = Codes(arrays["tokens"], num_codes)
    if "labels" in arrays:
        found["labels"] = arrays["labels"]
    if "prediction" in arrays:
        found["pairs"] = Pairs(arrays["prediction"], arrays["truth"], value_range)
    if "ensemble" in arrays:
        found["ensembles"] = Ensembles(arrays["ensemble"], arrays["truth"])
    if "scores" in arrays:
        found["masks"] = Masks(arrays["scores"], arrays["mask"])
    return found

"""The task that measures how well maps find the anomalies of a data set, by several methods."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluation.metrics.auroc import auroc
from evaluation.metrics.average_precision import average_precision
from evaluation.rounds import Arrays, Task, check_coverage, join
from evaluation.tasks.per_example import Fetch
from reports.records import Column

FIGURES = {
    "pixel_auroc": "pixel AUROC",
    "pixel_average_precision": "pixel average precision",
    "image_auroc": "image AUROC",
    "image_average_precision": "image average precision",
}
MAP, SCORE = "map_", "score_"  # and a method, in the files


class Detected(NamedTuple):
    """What is anomalous [B, *sides], bool; by the name of each method a map [B, *sides] and a score of examples [B]."""

    mask: np.ndarray
    maps: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray]


def anomaly_task(
    num_examples: int,
    batch_size: int,
    fetch: Fetch,
    detect: Callable[[dict[str, Any]], Detected],
    methods: Sequence[str],
) -> Task:
    """AUROC and average precision of maps and scores, with error bars; the first of the `methods` is the model.

    Per pixel, over the examples that have an anomaly; per image, of these among all. The files keep maps and scores.
    Errors: ValueError if rounds do not belong to `num_examples` and `batch_size`.
    """

    def run(round_number: int) -> Arrays:
        batch = dict(fetch(round_number))
        counted = np.asarray(batch["counted"]) > 0
        mask, maps, scores = detect(batch)
        arrays = {"index": np.asarray(batch["index"]), "mask": mask}
        arrays |= {MAP + name: maps[name].astype(np.float32) for name in methods}
        arrays |= {SCORE + name: scores[name] for name in methods}
        return {key: values[counted] for key, values in arrays.items()}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, Any]:
        joined = join(rounds)
        check_coverage("anomaly", joined["index"], num_examples)
        mask = joined["mask"]
        has_one = np.any(mask.reshape(len(mask), -1), axis=1)
        first, *others = (_figures(joined[MAP + name], joined[SCORE + name], mask, has_one) for name in methods)
        return {**first, **dict(zip(methods[1:], others, strict=True)), "num_examples": num_examples}

    def column(path: str, heading: str) -> Column:
        return Column(f"{path}.value", heading, "higher", error=f"{path}.error")

    columns = [column(key, heading) for key, heading in FIGURES.items()]
    for name in methods[1:]:
        columns += [column(f"{name}.{key}", f"{heading}, {name.replace('_', ' ')}") for key, heading in FIGURES.items()]
    return Task("anomaly", -(-num_examples // batch_size), run, summarize, tuple(columns))


def _figures(maps: np.ndarray, scores: np.ndarray, mask: np.ndarray, has_one: np.ndarray) -> dict[str, Any]:
    found = {
        "pixel_auroc": auroc(maps[has_one], mask[has_one]),
        "pixel_average_precision": average_precision(maps[has_one], mask[has_one]),
        "image_auroc": auroc(scores, has_one),
        "image_average_precision": average_precision(scores, has_one),
    }
    return {name: figure.to_dict() for name, figure in found.items()}

"""The task that measures how codes have the factors of the data."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluation.metrics.dci import dci
from evaluation.rounds import Arrays, Task, check_coverage, join
from evaluation.tasks.per_example import Fetch
from reports.records import Column


class Represented(NamedTuple):
    """The codes [B, D] of examples, their factors [B, K], and whether all of them are known, bool [B]."""

    codes: np.ndarray
    factors: np.ndarray
    known: np.ndarray


def disentanglement_task(
    num_examples: int,
    batch_size: int,
    fetch: Fetch,
    represent: Callable[[dict[str, Any]], Represented],
    names: Sequence[str],
) -> Task:
    """Disentanglement and completeness of codes, and how much of each factor they explain; see `metrics.dci`.

    Errors: ValueError if rounds do not belong to `num_examples` and `batch_size`, and without known factors.
    """

    def run(round_number: int) -> Arrays:
        batch = dict(fetch(round_number))
        counted = np.asarray(batch["counted"]) > 0
        arrays = {"index": np.asarray(batch["index"]), **represent(batch)._asdict()}
        return {key: values[counted] for key, values in arrays.items()}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, Any]:
        joined = join(rounds)
        check_coverage("disentanglement", joined["index"], num_examples)
        known = joined["known"]
        found = dci(joined["codes"][known], joined["factors"][known])
        explained = dict(zip(names, map(float, found.informativeness), strict=True))
        return {
            "disentanglement": found.disentanglement,
            "completeness": found.completeness,
            "informativeness": float(found.informativeness.mean()),
            "explained": explained,
            "importance": found.importance.tolist(),
            "num_examples": int(known.sum()),
        }

    columns = tuple(
        Column(name, f"DCI {name}", "higher") for name in ("disentanglement", "completeness", "informativeness")
    )
    return Task("disentanglement", -(-num_examples // batch_size), run, summarize, columns)

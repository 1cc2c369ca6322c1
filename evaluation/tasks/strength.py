"""The task that measures how much of what is asked for happens, at several strengths."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from evaluation.rounds import Arrays, Task, check_coverage, join
from evaluation.tasks.per_example import Fetch
from reports.records import Column

AT = "at_"  # and the strength, in the files and the summary


def strength_task(
    num_examples: int,
    batch_size: int,
    fetch: Fetch,
    slopes: Callable[[dict[str, Any], float], np.ndarray],
    strengths: Sequence[float],
) -> Task:
    """`sum (change) (change asked for) / sum (change asked for)^2` at each of the `strengths`: 1 where all happens.

    slopes: `(batch, strength) -> [B, 2]`, both products. Errors: ValueError if rounds do not belong to `num_examples`
    and `batch_size`.
    """
    names = {f"{AT}{value:g}".replace(".", "_"): value for value in strengths}

    def run(round_number: int) -> Arrays:
        batch = dict(fetch(round_number))
        counted = np.asarray(batch["counted"]) > 0
        arrays = {"index": np.asarray(batch["index"])} | {name: slopes(batch, value) for name, value in names.items()}
        return {key: values[counted] for key, values in arrays.items()}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, Any]:
        joined = join(rounds)
        check_coverage("strength", joined["index"], num_examples)
        sums = {name: joined[name].sum(axis=0) for name in names}
        return {name: float(above / below) for name, (above, below) in sums.items()} | {"num_examples": num_examples}

    columns = tuple(Column(name, f"effect at strength {value:g}", digits=".3f") for name, value in names.items())
    return Task("strength", -(-num_examples // batch_size), run, summarize, columns)

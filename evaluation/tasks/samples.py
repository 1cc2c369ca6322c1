"""The task that generates samples."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.rounds import Arrays, Task, check_coverage
from reports.records import Column

Generate = Callable[[int, int], Mapping[str, Any]]  # (first index, number) -> "samples" [number, ...], "num_evals"


def samples_task(num_samples: int, batch_size: int, generate: Generate, *, name: str = "samples") -> Task:
    """Generates samples 0 ... `num_samples` - 1 in batches of one shape; the surplus of the last round is dropped.

    `generate(start, count)` returns "samples" [count, ...] and "num_evals" (the NFE of the batch); further entries of
    length `count` along their first axis are kept too. The summary holds "num_samples" and "num_evals", the mean over
    rounds. Raises ValueError for another number of samples, or if rounds do not belong together.
    """
    if num_samples < 1 or batch_size < 1:
        raise ValueError(f"task {name} got {num_samples} samples in batches of {batch_size}; each must be at least 1")

    def run(round_number: int) -> Arrays:
        start = round_number * batch_size
        count = min(batch_size, num_samples - start)
        arrays = {key: np.asarray(value) for key, value in generate(start, batch_size).items()}
        if arrays["samples"].shape[0] != batch_size:
            raise ValueError(f"generate returned {arrays['samples'].shape[0]} samples instead of {batch_size}")
        kept = {key: value[:count] if value.ndim else value for key, value in arrays.items()}
        return kept | {"index": np.arange(start, start + count)}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, float]:
        indices, evaluations = [], []
        for arrays in rounds:  # one at a time: all samples together may not fit into memory
            indices.append(arrays["index"])
            evaluations.append(float(arrays["num_evals"]))
        check_coverage(name, np.concatenate(indices), num_samples)
        return {"num_samples": num_samples, "num_evals": float(np.mean(evaluations))}

    return Task(name, -(-num_samples // batch_size), run, summarize, (Column("num_evals", "NFE"),))

"""The task that computes features of a set of examples."""

from collections.abc import Callable, Sequence

import numpy as np

from evaluation.rounds import Arrays, Task, check_coverage


def features_task(name: str, num_examples: int, num_rounds: int, extract: Callable[[int], Arrays]) -> Task:
    """Features of examples 0 ... `num_examples` - 1: `extract(round)` returns them with their "index" [B].

    The summary holds "num_examples". Raises ValueError if an example is missing or occurs twice.
    """

    def summarize(rounds: Sequence[Arrays]) -> dict[str, float]:
        check_coverage(name, np.concatenate([arrays["index"] for arrays in rounds]), num_examples)
        return {"num_examples": num_examples}

    return Task(name, num_rounds, extract, summarize)

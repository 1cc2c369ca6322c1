"""The task that measures how a mixture of experts is used, by the modality of tokens."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.metrics.dci import evenness
from evaluation.rounds import Arrays, Task, check_coverage, join
from evaluation.tasks.per_example import Fetch
from reports.records import Column


def routing_task(
    num_examples: int,
    batch_size: int,
    fetch: Fetch,
    count: Callable[[dict[str, Any]], Mapping[str, Any]],
) -> Task:
    """Entropies of the shares of experts, over log E: of all tokens, and of those of each modality; mean over layers.

    `count`: from a batch to the choices of each example [B, layers, E], by modality. "difference" is the total
    variation between the shares of the first and the last modality: 0 for the same ones, 1 for no expert in common.
    Errors: ValueError if rounds do not belong to `num_examples` and `batch_size`.
    """

    def run(round_number: int) -> Arrays:
        batch = dict(fetch(round_number))
        counted = np.asarray(batch["counted"]) > 0
        found = {name: np.asarray(value) for name, value in count(batch).items()}
        return {name: value[counted] for name, value in {**found, "index": np.asarray(batch["index"])}.items()}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, Any]:
        joined = join(rounds)
        check_coverage("routing", joined.pop("index"), num_examples)
        counts = {name: np.asarray(value, np.float64).sum(axis=0) for name, value in joined.items()}  # [layers, E]
        shares = {name: value / np.maximum(value.sum(-1, keepdims=True), 1) for name, value in counts.items()}
        total = np.sum(list(counts.values()), axis=0)
        every = {"all": total / total.sum(-1, keepdims=True), **shares}
        first, *_, last = [*shares.values()]
        return {
            "entropy": {name: float(evenness(share, axis=-1).mean()) for name, share in every.items()},
            "shares": {name: share.tolist() for name, share in shares.items()},
            "difference": float(0.5 * np.abs(first - last).sum(-1).mean()),
        }

    columns = (
        Column("entropy.all", "entropy of experts / log E", "higher", rank=2),
        Column("difference", "experts by modality"),
    )
    return Task("routing", -(-num_examples // batch_size), run, summarize, columns)

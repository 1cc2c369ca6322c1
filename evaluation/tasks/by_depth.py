"""The task that measures what tokens of several levels are worth: reconstructions from the first ones, and all."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluation.metrics.base import mean_over_examples
from evaluation.metrics.psnr import psnr_db
from evaluation.rounds import Arrays, Task, check_coverage, join
from evaluation.tasks.per_example import Fetch
from reports.records import Column


class Decoded(NamedTuple):
    """The truth [B, ...], its reconstructions from the first n levels [B, depth, ...], n = 1 ... depth, and whether
    tokens come back from the sum of their codes [B, positions], bool.
    """

    truth: np.ndarray
    from_levels: np.ndarray
    return_again: np.ndarray


def by_depth_task(
    num_examples: int,
    batch_size: int,
    fetch: Fetch,
    decode: Callable[[dict[str, Any]], Decoded],
    depth: int,
    *,
    value_range: float | None = None,
) -> Task:
    """PSNR in decibels from the first n of `depth` levels, and the share of positions whose tokens come back.

    value_range: of data that are not in [0, 1]. Errors: ValueError if rounds do not belong to `num_examples` and
    `batch_size`.
    """
    names = [f"psnr_{n}" for n in range(1, depth + 1)]

    def run(round_number: int) -> Arrays:
        batch = dict(fetch(round_number))
        counted = np.asarray(batch["counted"]) > 0
        found = Decoded(*map(np.asarray, decode(batch)))
        arrays = {"index": np.asarray(batch["index"]), "return_again": found.return_again.mean(axis=1)}
        for n, name in enumerate(names):
            arrays[name] = psnr_db(found.from_levels[:, n], found.truth, value_range)
        return {key: values[counted] for key, values in arrays.items()}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, Any]:
        joined = join(rounds)
        check_coverage("tokens", joined["index"], num_examples)
        found = {name: mean_over_examples(joined[name]).to_dict() for name in names}
        return found | {"return_again": float(joined["return_again"].mean()), "num_examples": num_examples}

    columns = [
        Column(f"psnr_{n}.value", f"PSNR / dB of depth {n}", "higher", error=f"psnr_{n}.error", digits=".2f")
        for n in range(1, depth + 1)
    ]
    again = Column("return_again", "tokens that come back", digits=".4f")
    return Task("tokens", -(-num_examples // batch_size), run, summarize, (*columns, again))

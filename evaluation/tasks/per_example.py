"""Tasks that evaluate quantities of each example of a data set, such as its loss or its bits per dimension."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.rounds import Arrays, Task, check_coverage, join
from reports.records import Column

Fetch = Callable[[int], Mapping[str, Any]]  # round -> batch with "index" [B] and "counted" [B], 0 for padding
Evaluate = Callable[[dict[str, Any]], Mapping[str, Any]]  # batch -> quantities, each [B] or one number for the batch


def per_example_task(
    name: str,
    num_examples: int,
    batch_size: int,
    fetch: Fetch,
    evaluate: Evaluate,
    *,
    quantity: str,
    repeats: int = 1,
    heading: str | None = None,
    rank: int = 0,
) -> Task:
    """Evaluates every example exactly once, without padding; its value is the mean of `repeats` evaluations.

    `evaluate` gets the batch of a round with the number of the repetition, int32, under "repeat": together with "index"
    it addresses the example's random numbers. The files keep each quantity per example, in double precision. The
    summary holds "mean", "standard_error" (sample deviation over sqrt(n); null for one example), "num_examples" and
    "num_nonfinite" of `quantity`, and the means of all others under "<name>_mean". The mean is the column `heading`, by
    default the quantity with "/" for "per" (bits/dim); lower is better; for `rank` see `Column`. Raises ValueError if a
    quantity has another shape than [B], or rounds do not belong to `num_examples` and `batch_size`.
    """
    if num_examples < 1 or batch_size < 1 or repeats < 1:
        raise ValueError(
            f"task {name} got {num_examples} examples, batches of {batch_size} and {repeats} repeats; "
            "each must be at least 1"
        )

    def run(round_number: int) -> Arrays:
        batch = fetch(round_number)
        real = np.asarray(batch["counted"]) > 0
        total: dict[str, np.ndarray] = {}
        for repeat in range(repeats):
            values = evaluate({**batch, "repeat": np.int32(repeat)})
            for key, value in values.items():
                total[key] = total.get(key, 0.0) + _per_example(key, value, len(real))
        result = {key: (value / repeats)[real] for key, value in total.items()}
        return result | {"index": np.asarray(batch["index"])[real]}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, float]:
        joined = join(rounds)
        check_coverage(name, joined.pop("index"), num_examples)
        return _statistics(joined.pop(quantity)) | {f"{key}_mean": float(v.mean()) for key, v in joined.items()}

    shown = heading or quantity.replace("_per_", "/")
    column = Column("mean", shown, "lower", error="standard_error", digits=".4f", rank=rank)
    return Task(name, -(-num_examples // batch_size), run, summarize, (column,))


def loss_task(
    num_examples: int,
    batch_size: int,
    fetch: Fetch,
    losses: Evaluate,
    *,
    terms: Sequence[str] = (),
    repeats: int = 1,
    name: str = "loss",
) -> Task:
    """The mean of `losses(batch)["loss"]` [B] over a data set, and of the losses `terms`; see `per_example_task`."""
    shown: Any = {"quantity": "loss", "heading": "test loss", "rank": 1}
    task = per_example_task(name, num_examples, batch_size, fetch, losses, repeats=repeats, **shown)
    columns = (Column(f"{term}_mean", f"test {term}", "lower", digits=".4f") for term in terms)
    return task._replace(columns=(*task.columns, *columns))


def _per_example(key: str, value: Any, size: int) -> np.ndarray:
    """`value` [size], or one number repeated `size` times, in double precision."""
    array = np.asarray(value, np.float64)
    if array.shape not in ((), (size,)):
        raise ValueError(f"quantity {key} has shape {array.shape}; expected one value for each of {size} examples")
    return np.broadcast_to(array, (size,))


def _statistics(values: np.ndarray) -> dict[str, float]:
    """Mean and standard error of `values` [n] in double precision, and numbers of examples."""
    size = len(values)
    error = float(values.std(ddof=1) / np.sqrt(size)) if size > 1 else float("nan")
    finite = int(np.isfinite(values).sum())
    return {
        "mean": float(values.mean()),
        "standard_error": error,
        "num_examples": size,
        "num_nonfinite": size - finite,
    }

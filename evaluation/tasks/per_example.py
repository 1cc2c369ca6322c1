"""The tasks: per-example quantities (losses, bits per dimension) over a data set, and samples."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.rounds import Arrays, Task
from reports.records import Column

Fetch = Callable[[int], Mapping[str, Any]]  # round -> batch with "index" [B] and "mask" [B], 0 for padding
Evaluate = Callable[[dict[str, Any]], Mapping[str, Any]]  # batch -> quantities, each [B] or one number for the batch
Generate = Callable[[int, int], Mapping[str, Any]]  # (first index, how many) -> "samples" [count, ...], "num_evals"


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
    rank: int = 2,
) -> Task:
    """Evaluates every example exactly once, padding left out; its value is the mean of `repeats` evaluations.

    `evaluate` gets the batch of a round with the number of the repetition, int32, under "repeat": together with "index"
    it addresses the example's random numbers. The files keep each quantity per example, in double precision. The
    summary holds "mean", "standard_error" (sample deviation over sqrt(n); null for one example), "num_examples" and
    "num_nonfinite" of `quantity`, and the means of all others under "<name>_mean". Raises ValueError where a quantity
    has another shape than [B], or rounds do not belong to `num_examples` and `batch_size`.
    """
    if num_examples < 1 or batch_size < 1 or repeats < 1:
        raise ValueError(
            f"task {name} got {num_examples} examples, batches of {batch_size} and {repeats} repeats; "
            "each must be at least 1"
        )

    def run(round_number: int) -> Arrays:
        batch = fetch(round_number)
        real = np.asarray(batch["mask"]) > 0
        total: dict[str, np.ndarray] = {}
        for repeat in range(repeats):
            values = evaluate({**batch, "repeat": np.int32(repeat)})
            for key, value in values.items():
                total[key] = total.get(key, 0.0) + _per_example(key, value, len(real))
        result = {key: (value / repeats)[real] for key, value in total.items()}
        return result | {"index": np.asarray(batch["index"])[real]}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, float]:
        columns = _columns(rounds)
        _check_coverage(name, columns.pop("index"), num_examples)
        return _statistics(columns.pop(quantity)) | {f"{key}_mean": float(v.mean()) for key, v in columns.items()}

    shown = heading or quantity.replace("_per_", "/")  # bits/dim, nats/dim
    column = Column("mean", shown, "lower", error="standard_error", digits=".4f", rank=rank)
    return Task(name, -(-num_examples // batch_size), run, summarize, (column,))


def loss_task(
    num_examples: int,
    batch_size: int,
    fetch: Fetch,
    losses: Callable[[dict[str, Any]], Any],
    *,
    repeats: int = 1,
    name: str = "loss",
) -> Task:
    """The mean of `losses(batch)` [B] over a data set; see `per_example_task`."""
    return per_example_task(
        name,
        num_examples,
        batch_size,
        fetch,
        lambda batch: {"loss": losses(batch)},
        quantity="loss",
        repeats=repeats,
        heading="test loss",
        rank=1,
    )


def samples_task(num_samples: int, batch_size: int, generate: Generate, *, name: str = "samples") -> Task:
    """Draws samples 0 ... `num_samples` - 1 in batches of one shape, and cuts off the surplus of the last round.

    `generate(start, count)` returns "samples" [count, ...] and "num_evals" (network evaluations for the batch); further
    entries of length `count` along their first axis are kept too. The summary holds "num_samples" and "num_evals", the
    mean over rounds. Raises ValueError where another number of samples comes, or rounds do not belong together.
    """
    if num_samples < 1 or batch_size < 1:
        raise ValueError(f"task {name} got {num_samples} samples in batches of {batch_size}; each must be at least 1")

    def run(round_number: int) -> Arrays:
        start = round_number * batch_size
        count = min(batch_size, num_samples - start)
        arrays = {key: np.asarray(value) for key, value in generate(start, batch_size).items()}
        if arrays["samples"].shape[0] != batch_size:
            raise ValueError(f"generate gave {arrays['samples'].shape[0]} samples where {batch_size} were asked for")
        kept = {key: value[:count] if value.ndim else value for key, value in arrays.items()}
        return kept | {"index": np.arange(start, start + count)}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, float]:
        indices, evaluations = [], []
        for arrays in rounds:  # one at a time: all samples together may not fit into memory
            indices.append(arrays["index"])
            evaluations.append(float(arrays["num_evals"]))
        _check_coverage(name, np.concatenate(indices), num_samples)
        return {"num_samples": num_samples, "num_evals": float(np.mean(evaluations))}

    return Task(name, -(-num_samples // batch_size), run, summarize, (Column("num_evals", "NFE"),))


def features_task(name: str, num_examples: int, num_rounds: int, extract: Callable[[int], Arrays]) -> Task:
    """Features of examples 0 ... `num_examples` - 1: `extract(round)` gives them beside their "index" [B].

    The summary holds "num_examples". Raises ValueError where an example is missing or comes twice.
    """

    def summarize(rounds: Sequence[Arrays]) -> dict[str, float]:
        _check_coverage(name, np.concatenate([arrays["index"] for arrays in rounds]), num_examples)
        return {"num_examples": num_examples}

    return Task(name, num_rounds, extract, summarize)


def _per_example(key: str, value: Any, size: int) -> np.ndarray:
    """`value` [size], or one number repeated `size` times, in double precision."""
    array = np.asarray(value, np.float64)
    if array.shape not in ((), (size,)):
        raise ValueError(f"quantity {key} has shape {array.shape}; expected one value for each of {size} examples")
    return np.broadcast_to(array, (size,))


def _columns(rounds: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """The arrays of all rounds, joined along the first axis."""
    parts = list(rounds)
    return {key: np.concatenate([arrays[key] for arrays in parts]) for key in parts[0]}


def _check_coverage(name: str, index: np.ndarray, size: int) -> None:
    """Raises ValueError unless `index` is 0 ... `size` - 1, each once and in order."""
    if not np.array_equal(index, np.arange(size)):
        raise ValueError(
            f"the rounds of {name} hold {len(index)} entries that are not 0 ... {size - 1} in order; they were written "
            "with another batch size or another number of examples, so remove them or use another directory"
        )


def _statistics(values: np.ndarray) -> dict[str, float]:
    """Mean and standard error of `values` [n] in double precision, and how many there are."""
    size = len(values)
    error = float(values.std(ddof=1) / np.sqrt(size)) if size > 1 else float("nan")
    finite = int(np.isfinite(values).sum())
    return {
        "mean": float(values.mean()),
        "standard_error": error,
        "num_examples": size,
        "num_nonfinite": size - finite,
    }

"""Evaluation as a list of rounds: each writes one file, and a round whose file exists is done.

An interrupted evaluation therefore continues where it stopped, several workers can share a directory, and the results
depend on neither.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from absl import logging

from core import progress
from core.array_files import read_npz
from core.files import remove_stale, write_atomically
from core.reading import UnreadableError
from reports.records import Column

Arrays = dict[str, np.ndarray]


class Task(NamedTuple):
    """An evaluation of `num_rounds` rounds.

    `run(round)` is pure in the round number; `summarize` turns the results of all rounds, in order, into numbers, and
    `columns` say how those are presented, by their names in the summary.
    """

    name: str
    num_rounds: int
    run: Callable[[int], Arrays]
    summarize: Callable[[Sequence[Arrays]], dict[str, Any]]
    columns: tuple[Column, ...] = ()


class Rounds(Sequence[Arrays]):
    """The finished rounds of a task, each read from its file when it is indexed."""

    def __init__(self, task: Task, directory: str | os.PathLike):
        self._paths = [round_path(task, directory, i) for i in range(task.num_rounds)]

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Arrays: ...

    @overload
    def __getitem__(self, index: slice) -> list[Arrays]: ...

    def __getitem__(self, index: int | slice) -> Arrays | list[Arrays]:
        if isinstance(index, slice):
            return [_read(path) for path in self._paths[index]]
        return _read(self._paths[index])

    def __iter__(self) -> Iterator[Arrays]:
        return map(_read, self._paths)


def round_path(task: Task, directory: str | os.PathLike, round_number: int) -> pathlib.Path:
    """The file of one round: `<directory>/<task.name>/round_00003.npz`."""
    return pathlib.Path(directory) / task.name / f"round_{round_number:05d}.npz"


def is_done(path: pathlib.Path) -> bool:
    """Whether `path` holds the complete result of a round; a damaged file is logged and counts as missing."""
    if not path.exists():
        return False
    try:
        _read(path)
    except UnreadableError as error:
        logging.warning("%s cannot be read (%s) and is computed again", path, error)
        return False
    return True


@dataclasses.dataclass(frozen=True)
class Worker:
    """One of `count` workers that share an evaluation, number `index` of 0 ... count - 1."""

    index: int = 0
    count: int = 1

    def order(self, num_rounds: int) -> list[int]:
        """All rounds: its own, every `count`-th, then those of the others, starting from their ends."""
        own, *others = (range((self.index + k) % self.count, num_rounds, self.count) for k in range(self.count))
        return [*own, *(round_number for share in others for round_number in reversed(share))]


def worker_of(index: int | None, count: int | None) -> Worker:
    """The worker that the flags name; without flags, the one of this job of a Slurm array.

    Errors: ValueError for an index out of range.
    """
    first = int(os.environ.get("SLURM_ARRAY_TASK_MIN", "0"))
    index = int(os.environ.get("SLURM_ARRAY_TASK_ID", str(first))) - first if index is None else index
    count = int(os.environ.get("SLURM_ARRAY_TASK_COUNT", "1")) if count is None else count
    if not 0 <= index < count:
        raise ValueError(f"--eval_worker={index} --eval_workers={count}: workers are numbered from 0 to {count - 1}.")
    return Worker(index, count)


def run_task(task: Task, directory: str | os.PathLike, worker: Worker = Worker()) -> dict[str, Any]:
    """Runs the rounds of `task` that have no file yet and summarizes all of them.

    Several workers may run a task in one directory: each does its own rounds and then helps with those that others have
    not finished. Whether a round is done is checked just before it would be computed; two workers that compute the same
    round write the same file. Raises what `task.run` raises; finished rounds are kept.
    """
    with progress.phase(task.name.replace("_per_", "/"), task.num_rounds, "round") as shown:
        for round_number in worker.order(task.num_rounds):
            path = round_path(task, directory, round_number)
            if is_done(path):
                shown.skip()
            else:
                _write_round(path, task.run(round_number))
                shown.advance()
    remove_stale(
        pathlib.Path(directory) / task.name, age=0.0
    )  # every round is done: no one needs what killed ones left
    return task.summarize(Rounds(task, directory))


def join(rounds: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """The arrays of all rounds, joined along the first axis."""
    parts = list(rounds)
    return {key: np.concatenate([arrays[key] for arrays in parts]) for key in parts[0]}


def check_coverage(name: str, index: np.ndarray, size: int) -> None:
    """Raises ValueError unless `index`, of the examples in all rounds, is 0 ... `size` - 1, each once and in order."""
    if not np.array_equal(index, np.arange(size)):
        raise ValueError(
            f"the rounds of {name} hold {len(index)} entries that are not 0 ... {size - 1} in order; they were written "
            "with another batch size or another number of examples, so remove them or use another directory"
        )


def _read(path: pathlib.Path) -> Arrays:
    """All arrays of a round's file; nothing in it is executed."""
    return read_npz(path)


def _write_round(path: pathlib.Path, result: Arrays) -> None:
    """Writes a round's arrays under its name, sorted so that equal results are equal bytes."""
    arrays = {name: np.asarray(result[name]) for name in sorted(result)}
    write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **arrays))

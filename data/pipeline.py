"""Batches of examples in an order that is a pure function of (seed, step), for any number of processes.

Indices are shuffled and batched first; each process then fetches only its own rows. Starting at step k therefore reads
nothing of earlier steps, and the batches of all processes, concatenated, are the batch of a single process.
"""

import multiprocessing
import multiprocessing.process
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import TracebackType

import grain
import numpy as np

from data.by_reference import ByReference
from data.images import flip
from data.source import Source

Batch = dict[str, np.ndarray]


class Batches(Iterator[Batch]):
    """An endless iterator of batches; `close()`, or leaving its `with` block, ends its threads and processes.

    Worker w of n processes makes the batches w, w + n, ...; they arrive in order.
    """

    def __init__(self, batches: grain.MapDataset, num_threads: int, num_workers: int = 0):
        ahead = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
        if num_workers:
            ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        reading = batches.to_iter_dataset(ahead)
        if num_workers:
            reading = reading.mp_prefetch(
                grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=2), _begin_worker
            )
        self._iterator = iter(reading)

    def __next__(self) -> Batch:
        return next(self._iterator)

    def close(self) -> None:
        """Stops reading ahead; the iterator cannot be used afterwards."""
        self._iterator.close()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _begin_worker(index: int, count: int) -> None:
    """Ties a worker to its trainer: it ends when that does, however it was killed, and leaves signals to it.

    A terminal and Slurm send a signal to all processes of a run; the trainer answers it, and then closes its workers.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if (trainer := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_after, args=(trainer,), daemon=True).start()


def _end_after(trainer: multiprocessing.process.BaseProcess) -> None:
    trainer.join()
    os._exit(1)


def _check(seed: int, batch_size: int, start_step: int, process_count: int, num_threads: int) -> None:
    """Errors: ValueError for invalid arguments of `train_batches`."""
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"batch_size {batch_size} cannot be divided among {process_count} processes; use a positive multiple of "
            f"{process_count}"
        )
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed {seed} is not in 0 ... 2**32 - 1, the range of the shuffle; choose one in it")
    if start_step < 0 or num_threads < 1:
        raise ValueError(
            f"start_step {start_step} and num_threads {num_threads} were given; use at least 0 and at least 1"
        )


def _rows(
    source: Source, seed: int, batch_size: int, random_flip: bool, rows: slice
) -> Callable[[int, np.ndarray], Batch]:
    """A function of (step, all indices of the step) that fetches, and possibly flips, the given `rows` of the batch."""
    mirrored = [name for name, field in source.fields.items() if field.shape[:2] == source.shape[:2]]

    def fetch(step: int, indices: np.ndarray) -> Batch:
        batch = source.fetch(indices[rows])
        if random_flip:
            bits = np.random.default_rng([seed, step]).integers(0, 2, batch_size)
            batch = batch | {name: flip(batch[name], bits[rows]) for name in mirrored}
        return batch

    return fetch


def _indices(source: Source, seed: int, batch_size: int) -> grain.MapDataset:
    """The examples of each step, [batch_size]."""
    order = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat(None)
    return order.batch(batch_size, drop_remainder=True)


def examples_of_step(source: Source, *, seed: int, batch_size: int, step: int) -> np.ndarray:
    """The indices [batch_size] of the examples in the batch of `step` = 0, 1, ... of `train_batches`."""
    return np.asarray(_indices(source, seed, batch_size)[step])


def train_batches(
    source: Source,
    *,
    seed: int,
    batch_size: int,
    start_step: int = 0,
    random_flip: bool = False,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 1,
    num_workers: int = 0,
) -> Batches:
    """Endless batches {"x": [b, ...], "label": int32 [b], ...} of all fields with `b = batch_size // process_count`.

    batch_size: examples of all processes together; process p gets rows `p b ... (p + 1) b - 1` of each batch. Every
        epoch has its own order, and a batch may span the end of one epoch and the start of the next.
    start_step: the step of the first batch. num_threads, num_workers: threads that read ahead, or processes if
        `num_workers` is not 0. random_flip: mirrors x, and fields of its height and width, such as masks.
    Errors: ValueError for sizes that do not fit.
    """
    _check(seed, batch_size, start_step, process_count, num_threads)
    if random_flip and len(source.shape) != 3:
        raise ValueError(f"random_flip mirrors images [H, W, C], but {source.name} has {source.shape}; set it to False")
    share = batch_size // process_count
    rows = slice(process_index * share, (process_index + 1) * share)
    fetch = _rows(source, seed, batch_size, random_flip, rows)
    batches = _indices(source, seed, batch_size).map_with_index(ByReference(fetch) if num_workers else fetch)
    return Batches(batches[start_step:], num_threads, num_workers)


def num_rounds(num_examples: int, batch_size: int) -> int:
    """How many batches of `batch_size` cover `num_examples` examples, the last one padded."""
    return -(-num_examples // batch_size)


def eval_batch(source: Source, round_number: int, batch_size: int) -> Batch:
    """Examples `round_number B ... (round_number + 1) B - 1` of a split, so that each counts exactly once.

    Returns all fields [B, ...], "index" [B] int32 and "counted" [B] float32: 1, and past the end, where the last
    example is repeated, 0. Errors: ValueError for a round that does not exist.
    """
    rounds = num_rounds(len(source), batch_size)
    if not 0 <= round_number < rounds:
        raise ValueError(
            f"round {round_number} was requested, but there are {len(source)} examples in batches of {batch_size}; "
            f"use a round from 0 to {rounds - 1}"
        )
    position = np.arange(round_number * batch_size, (round_number + 1) * batch_size)
    index = np.minimum(position, len(source) - 1)
    counted = (position < len(source)).astype(np.float32)
    return source.fetch(index) | {"index": index.astype(np.int32), "counted": counted}

"""Whether samples are copies of training examples, where they start from these."""

import dataclasses
import functools
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from builders.splits import Splits
from data.source import Source
from evaluation.metrics.novelty import from_distances, nearest
from evaluation.rounds import Arrays, Task
from reports.records import Column

MAX_HELD_OUT = 2000
NEAREST = "nearest"  # in a round: the distance of each sample to the nearest training example


@dataclasses.dataclass(frozen=True)
class Novelty:
    """The novelty of samples among the examples of `splits`, by distances of their values."""

    splits: Splits

    @functools.cached_property
    def training(self) -> np.ndarray:
        """The training examples as vectors."""
        return _flat(_values(self.splits.train, len(self.splits.train)))

    @functools.cached_property
    def held_out(self) -> np.ndarray | None:
        """Distances of held-out examples to the nearest training examples; None, and a warning, where they are 0."""
        distances = self.distances(_values(self.splits.test, MAX_HELD_OUT))
        if np.median(distances) > 0:
            return distances
        logging.warning("the data have no test split of their own, so that it is not known whether samples are copies")
        return None

    def distances(self, samples: np.ndarray) -> np.ndarray:
        """The distance of each sample [N, ...] to the nearest training example: [N]."""
        return nearest(_flat(samples), self.training)

    def assess(self, samples: np.ndarray) -> dict[str, Any]:
        """Novelty and the share of near copies of samples [N, ...], with a warning where they are copies."""
        if self.held_out is None or not np.isfinite(samples).all():
            return {}
        found = from_distances(self.distances(samples), self.held_out)
        for estimate in found.values():
            if estimate.warning:
                logging.warning("%s; %s.", estimate.warning, estimate.remedy)
        return {name: estimate.value for name, estimate in found.items()}

    def beside(self, task: Task) -> Task:
        """A task that generates samples, with their novelty and near copies."""
        if self.held_out is None:
            return task

        def run(turn: int) -> Arrays:
            arrays = task.run(turn)
            return {**arrays, NEAREST: self.distances(arrays["samples"])}

        def summarize(rounds: Sequence[Arrays]) -> dict[str, Any]:
            assert self.held_out is not None
            distances = np.concatenate([arrays[NEAREST] for arrays in rounds])
            found = from_distances(distances, self.held_out)
            return {**task.summarize(rounds), **{name: estimate.to_dict() for name, estimate in found.items()}}

        columns = (
            Column("novelty.value", "novelty", error="novelty.error"),
            Column("near_copies.value", "near copies", "lower", error="near_copies.error", rank=-1),
        )
        return task._replace(run=run, summarize=summarize, columns=(*task.columns, *columns))


def _values(source: Source, most: int) -> np.ndarray:
    num = min(most, len(source))
    return source.fetch(np.arange(num) * len(source) // num)["x"]


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1)

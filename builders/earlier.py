"""The network of another run: a guide, a classifier, or an earlier stage of the model."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Protocol

from jax.sharding import Sharding
from ml_collections import ConfigDict

from data.spec import DataSpec
from training.objectives.base import Variables


@dataclasses.dataclass(frozen=True)
class EarlierRun:
    """A checkpoint of another run: its config, what it knows of its data (None in old ones), and its variables.

    `read`: its averaged parameters and its collections. Errors of `read`: ValueError with the setting that names it.
    """

    config: ConfigDict
    spec: DataSpec | None
    number: int
    read: Callable[[], Variables]

    @functools.cached_property
    def variables(self) -> Variables:
        """Averaged parameters and collections, read when first used."""
        return self.read()


def reference(given: str) -> tuple[str, int | None]:
    """`WORKDIR[:CHECKPOINT]` as workdir and number; None for the newest."""
    workdir, _, number = given.rpartition(":")
    return (workdir, int(number)) if workdir and number.isdecimal() else (given, None)


class LoadNetwork(Protocol):
    """Finds a checkpoint of another run."""

    def __call__(
        self, key: str, workdir: str, number: int | None = None, sharding: Sharding | None = None
    ) -> EarlierRun:
        """Checkpoint `number`, by default the newest, of the run in `workdir`, which the setting `key` names.

        `sharding`: of the variables; one device by default. Errors: ValueError, with the key, where there is none.
        """
        ...


OpenStages = Callable[[Sequence[str]], dict[str, EarlierRun]]  # names of stages -> their runs


def without_stages(names: Sequence[str]) -> dict[str, EarlierRun]:
    """For a system without earlier stages."""
    if names:
        raise ValueError(f"The system has the stages {', '.join(names)}, which only a run can open.")
    return {}

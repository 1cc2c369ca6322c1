"""The earlier stages of a run: from the setting that names their runs to the weights that it keeps."""

import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from builders.earlier import EarlierRun, reference
from configs import default
from core.tables import nearest
from data.spec import DataSpec
from programs import restore_run
from training import frozen
from training.objectives.base import Variables

KEY = "model.stages"


class Stages:
    """The earlier stages that a run uses: those of the config, or once it has checkpoints its own copies of them."""

    def __init__(self, config: ConfigDict, workdir: pathlib.Path):
        self.given = dict(entry.split("=", 1) for entry in config.model.stages)
        self.workdir = workdir
        self.runs: dict[str, EarlierRun] = {}

    def open(self, names: Sequence[str]) -> dict[str, EarlierRun]:
        """The runs of the stages `names`, by name. Errors: ValueError for a stage that is not given or not used."""
        for name in self.given:
            if name not in names:
                hint = f"the nearest is {nearest(name, names)!r}" if names else "leave it out"
                raise ValueError(f"config.{KEY} names the stage {name!r}, which the system does not have; {hint}.")
        self.runs = {name: self._open(name) for name in names}
        return self.runs

    def _open(self, name: str) -> EarlierRun:
        if restore_run.has_any_checkpoint(self.workdir):
            about = frozen.about(self.workdir, name)
            spec = None if about["data"] is None else DataSpec.from_json(about["data"])
            return EarlierRun(
                default.from_json(about["config"]),
                spec,
                about["checkpoint"],
                lambda: frozen.read(self.workdir, name, about["sha256"]),
            )
        if name not in self.given:
            raise ValueError(
                f"The system needs the run of its stage {name!r}; give it by config.{KEY} = ('{name}=WORKDIR',)."
            )
        return restore_run.network_of(KEY, *reference(self.given[name]))

    def keep(self) -> None:
        """Copies the weights of all stages into the workdir, for a run that starts."""
        for name, run in self.runs.items():
            about = {
                "config": default.to_json(run.config),
                "data": run.spec and run.spec.to_json(),
                "workdir": reference(self.given[name])[0],
                "checkpoint": run.number,
            }
            frozen.keep(self.workdir, name, run.variables, about)
            logging.info("stage %s: checkpoint %d of %s", name, run.number, about["workdir"])

    def notes(self) -> dict[str, Any]:
        """What every checkpoint notes of the weights that the run keeps."""
        parts = {name: frozen.about(self.workdir, name) for name in self.runs}
        return {frozen.FROZEN: parts} if parts else {}

    def variables(self) -> Variables:
        """The weights that the run keeps, as the collection "frozen" of NumPy arrays; nothing without stages."""
        return restore_run.frozen_variables(self.workdir, self.notes())

    def check(self, notes: Mapping[str, Any], allow: bool) -> None:
        """Refuses to resume a checkpoint with other weights than those of its `notes`, unless `allow`.

        Compares the run's own copies, and the runs that the config names, as far as they still exist.
        Errors: FrozenPartError, which names the stage.
        """
        noted = notes.get(frozen.FROZEN, {})
        for name in self.runs:
            if name not in noted:
                raise frozen.FrozenPartError(
                    f"The checkpoint in {self.workdir} was trained without the frozen part {name!r}; start a new run "
                    "in another --workdir."
                )
            expected = noted[name]["sha256"]
            frozen.read(self.workdir, name, expected)
            found = self._at_source(name, noted[name]["checkpoint"])
            if found not in (None, expected):
                error = frozen.other_weights(name, f"config.{KEY} = '{name}={self.given[name]}' has", expected, found)
                if not allow:
                    raise error
                logging.warning("%s Continuing with the run's own copy.", error)

    def _at_source(self, name: str, checkpoint: int) -> str | None:
        """The SHA-256 of the weights in the run that the config names; None where it or the checkpoint is gone."""
        if name not in self.given:
            return None
        workdir, number = reference(self.given[name])
        try:
            run = restore_run.network_of(KEY, workdir, checkpoint if number is None else number)
            return frozen.sha256(frozen.to_bytes(run.variables))
        except ValueError as error:
            logging.info("stage %s: the run's own copy is used (%s)", name, error)
            return None

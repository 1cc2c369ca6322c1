"""Checkpoints with Orbax: `checkpoints-meta/` keeps the newest, `checkpoints/` keeps all."""

import logging
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from training.state import TrainState


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used; the message says which and why."""


class Checkpoints:
    """One folder of checkpoints, numbered; each holds the training state and the config of the run as JSON.

    A checkpoint is written under a temporary name and renamed, so what `numbers` lists is complete.
    `keep`: how many to keep, None for all. Saving returns once the state may change; `close` waits for the disk.
    """

    def __init__(self, directory: str | pathlib.Path, keep: int | None = None):
        self.directory = epath.Path(directory).absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=False,
            cleanup_tmp_directories=False,
            # On a CPU the state would be written from the very buffers that the next step is given to overwrite.
            enable_async_checkpointing=jax.default_backend() != "cpu",
        )
        self.directory.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def numbers(self) -> list[int]:
        """The checkpoints that are complete, in order."""
        self._manager.reload()
        return sorted(self._manager.all_steps())

    def save(self, number: int, state: TrainState, config: dict[str, Any]) -> None:
        """Writes checkpoint `number`; one that exists already is left as it is."""
        if number in self._manager.all_steps():
            return
        saved = self._manager.save(
            number,
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), config=ocp.args.JsonSave(config)),
            force=True,
        )
        if not saved:
            raise CheckpointError(f"Checkpoint {number} could not be written to {self.directory}.")
        logging.info("checkpoint %d -> %s", number, self.directory)

    def restore(self, number: int, like: TrainState) -> TrainState:
        """Checkpoint `number` with the shapes, dtypes and shardings of `like` (arrays or ShapeDtypeStructs)."""
        target = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), like)
        try:
            restored = self._manager.restore(number, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))
        except (ValueError, FileNotFoundError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(
                f"Checkpoint {number} in {self.directory} cannot be read as the state of this config ({reason}); "
                "give the config that it was trained with, or delete it to go on from the one before."
            ) from error
        return restored["state"]

    def config(self, number: int) -> dict[str, Any]:
        """The config, as JSON, that checkpoint `number` was trained with."""
        return self._manager.restore(number, args=ocp.args.Composite(config=ocp.args.JsonRestore()))["config"]

    def close(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()

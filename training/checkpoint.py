"""Checkpoints with Orbax: `checkpoints-meta/` keeps the newest two, `checkpoints/` keeps all."""

import dataclasses
import errno
import logging
import os
import pathlib
import shutil
from collections.abc import Collection
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Sharding, SingleDeviceSharding

from core.errors import ExitCode, RunError
from core.files import read_json
from training.checksums import checksum_of_json, checksums, damaged
from training.state import TrainState, stored_form

# What Orbax and TensorStore raise for files that are truncated, changed or missing.
UNREADABLE = (ValueError, OSError, LookupError, TypeError, AttributeError, RuntimeError)


class CheckpointError(RunError):
    """A checkpoint cannot be used; the message says which one and why."""


class CheckpointMissingError(CheckpointError):
    """A checkpoint that was waited for did not appear."""

    exit_code = ExitCode.NO_CHECKPOINT


class Checkpoints:
    """A folder of numbered checkpoints: the training state, the config of the run, notes as JSON, and checksums.

    A checkpoint is written under a temporary name and then renamed, so all that `numbers` lists are complete; their
    checksums are verified when they are restored. keep: how many of the newest to keep, None for all. clean: remove
    what a killed process left unfinished; only for the trainer. Saving returns as soon as the state may change; `wait`
    and `close` wait for the disk.
    """

    def __init__(self, directory: str | pathlib.Path, keep: int | None = None, clean: bool = False):
        self.directory = epath.Path(directory).absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=False,
            cleanup_tmp_directories=clean,
            # On a CPU the state would be written from the buffers that are donated to the next step.
            enable_async_checkpointing=jax.default_backend() != "cpu",
        )
        self.directory.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def numbers(self) -> list[int]:
        """The numbers of the complete checkpoints, sorted."""
        self._manager.reload()
        return sorted(self._manager.all_steps())

    def save(self, number: int, state: TrainState, config: dict[str, Any], notes: dict[str, Any] | None = None) -> None:
        """Writes checkpoint `number`, unless it exists.

        `notes`: what else is needed to resume, as JSON. Errors: CheckpointError, also if an earlier checkpoint was
        still being written and failed.
        """
        if number in self._manager.all_steps():
            return
        notes = notes or {}
        sums = {"state": checksums(state), "config": checksum_of_json(config), "notes": checksum_of_json(notes)}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(stored_form(state)),
            config=ocp.args.JsonSave(config),
            notes=ocp.args.JsonSave(notes),
            checksums=ocp.args.JsonSave(sums),
        )
        try:
            saved = self._manager.save(number, args=items, force=True)
        except UNREADABLE as error:
            raise self._unwritten(f"Checkpoint {number}", error) from error
        if not saved:
            raise CheckpointError(f"Checkpoint {number} could not be written to {self.directory}.")
        logging.info("checkpoint %d -> %s", number, self.directory)

    def restore(self, number: int, like: TrainState) -> TrainState:
        """Checkpoint `number` with the shapes, dtypes and shardings of `like` (arrays or ShapeDtypeStructs).

        Errors: CheckpointError if it cannot be read or its checksums do not match.
        """
        target = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), stored_form(like))
        stored = self._json(number, "checksums")
        try:
            items = ocp.args.Composite(state=ocp.args.StandardRestore(target))
            state = dataclasses.replace(like, **self._manager.restore(number, args=items)["state"])
        except UNREADABLE as error:
            raise CheckpointError(
                f"Checkpoint {number} in {self.directory} cannot be read as the state of this config "
                f"({_reason(error)}); "
                "give the config that it was trained with, or delete it to resume from the one before."
            ) from error
        if stored is None:
            logging.info("checkpoint %d in %s was saved without checksums: not verified", number, self.directory)
        elif wrong := damaged(stored.get("state", {}), checksums(state)):
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise self._damaged(number, f"{wrong[0]}{more} of the state")
        return state

    def read(self, number: int, fields: Collection[str], sharding: Sharding | None = None) -> dict[str, Any]:
        """These fields of the state of checkpoint `number` as they were saved, whatever network they belong to.

        A field that was not saved is an empty dict. `sharding`: of every array; one device by default.
        Errors: CheckpointError if it cannot be read or its checksums do not match.
        """
        stored = self._json(number, "checksums")
        sharding = sharding or SingleDeviceSharding(jax.devices()[0])
        try:
            saved = ocp.PyTreeCheckpointHandler().metadata(self.directory / str(number) / "state").tree
            kept = {name: saved[name] for name in fields if name in saved}
            target = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), kept)
            restore = ocp.args.PyTreeRestore(
                item=target, restore_args=ocp.checkpoint_utils.construct_restore_args(target), partial_restore=True
            )
            found = self._manager.restore(number, args=ocp.args.Composite(state=restore))["state"]
        except UNREADABLE as error:
            raise CheckpointError(
                f"Checkpoint {number} in {self.directory} cannot be read ({_reason(error)}); give another checkpoint."
            ) from error
        if stored is not None:
            wanted = {
                path: value for path, value in stored.get("state", {}).items() if path[1:].partition("[")[0] in fields
            }
            sums = {f".{name}{path}": value for name in found for path, value in checksums(found[name]).items()}
            if wrong := damaged(wanted, sums):
                raise self._damaged(number, f"{wrong[0]} of the state")
        return {name: found.get(name, {}) for name in fields}

    def config(self, number: int) -> dict[str, Any]:
        """The config, as JSON, that checkpoint `number` was trained with. Errors: CheckpointError."""
        found = self._verified(number, "config")
        if found is None:
            raise CheckpointError(f"Checkpoint {number} in {self.directory} has no config; delete it.")
        return found

    def notes(self, number: int) -> dict[str, Any]:
        """The notes saved with checkpoint `number`. Errors: CheckpointError."""
        return self._verified(number, "notes") or {}

    def set_aside(self, number: int) -> None:
        """Renames checkpoint `number` to `<number>.damaged`, which `numbers` ignores."""
        aside = self.directory / f"{number}.damaged"
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(self.directory / str(number), aside)
        self._manager.reload()

    def delete(self, number: int) -> None:
        """Removes checkpoint `number`."""
        self._manager.delete(number)

    def wait(self) -> None:
        """Returns once everything is on disk. Errors: CheckpointError."""
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except UNREADABLE as error:
            raise self._unwritten("A checkpoint", error) from error

    def close(self) -> None:
        """Waits until everything is on disk. Errors: CheckpointError."""
        try:
            self.wait()
        finally:
            self._manager.close()

    def _verified(self, number: int, item: str) -> dict[str, Any] | None:
        found, stored = self._json(number, item), self._json(number, "checksums")
        if stored is not None and stored.get(item) != checksum_of_json(found):
            raise self._damaged(number, item)
        return found

    def _json(self, number: int, item: str) -> dict[str, Any] | None:
        """A JSON item of a checkpoint; None if it has no such item."""
        if not (self.directory / str(number) / item).exists():
            return None
        try:
            return self._manager.restore(number, args=ocp.args.Composite(**{item: ocp.args.JsonRestore()}))[item]
        except UNREADABLE as error:
            raise CheckpointError(
                f"The {item} of checkpoint {number} in {self.directory} cannot be read ({_reason(error)}); "
                "delete it to resume from the one before."
            ) from error

    def _damaged(self, number: int, what: str) -> CheckpointError:
        return CheckpointError(
            f"Checkpoint {number} in {self.directory} is damaged ({what} does not match its checksum); "
            "delete it to resume from the one before."
        )

    def _unwritten(self, what: str, error: Exception) -> CheckpointError:
        full = getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error)
        reason = os.strerror(errno.ENOSPC) if full else _reason(error)
        left = ", ".join(map(str, sorted(self._manager.all_steps()))) or "none"
        return CheckpointError(
            f"{what} could not be written to {self.directory} ({reason}; intact: {left}); "
            f"{'free some space' if full else 'resolve that'} and start the same command again."
        )


def peek_config(directory: pathlib.Path, number: int | None = None) -> dict[str, Any]:
    """The config of checkpoint `number`, by default the newest, as JSON; uses no device and verifies no checksum.

    For what has to be known before JAX's devices are set up; `Checkpoints.config` is the verified one.
    Errors: CheckpointError where it does not exist or cannot be read.
    """
    complete = [path for path in directory.glob("*/config/metadata") if path.parts[-3].isdecimal()]
    found = {int(path.parts[-3]): path for path in complete if (path.parents[1] / "_CHECKPOINT_METADATA").exists()}
    if not found or (number is not None and number not in found):
        raise not_found(directory, number, sorted(found))
    path = found[max(found) if number is None else number]
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({_reason(error)}); delete that checkpoint.") from error


def not_found(directory: pathlib.Path, number: int | None, available: list[int]) -> CheckpointError:
    """The error for a folder without checkpoint `number`, or without any."""
    return CheckpointError(
        f"No checkpoint{'' if number is None else f' {number}'} was found in {directory}; "
        f"there are: {', '.join(map(str, available)) or 'none'}."
    )


def _reason(error: Exception) -> str:
    """The first line of an error message, or the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""Checkpoints with Orbax: `checkpoints-meta/` keeps the newest two, `checkpoints/` keeps all."""

import contextlib
import dataclasses
import functools
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Collection, Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Sharding, SingleDeviceSharding

from core.errors import DamagedFileError, ExitCode, RunError
from core.files import FULL, read_json, writing
from core.text import first_line
from runtime.abandoned import ignore_abandoned_reads
from runtime.distributed import peer_gone
from training.checksums import checksum_of_json, checksums, damaged, unreadable_part
from training.state import TrainState, stored_form

_METADATA = "_CHECKPOINT_METADATA"  # Orbax's file that names them


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
        self._keep, self._clean = keep, clean
        ignore_abandoned_reads()
        if clean:
            self._manager  # noqa: B018  removes them at once

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        """What writes; reading needs only the files."""
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self._keep,
            create=False,
            cleanup_tmp_directories=self._clean,
            # On a CPU the state would be written from the buffers that are donated to the next step.
            enable_async_checkpointing=jax.default_backend() != "cpu",
        )
        with writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            notes = [self.directory / str(number) / _METADATA for number in self.numbers()]
            try:
                if any(unreadable_part(pathlib.Path(note).parent) for note in notes):
                    raise ValueError("a part of a checkpoint would be waited for")
                return ocp.CheckpointManager(self.directory, options=options)
            except (ValueError, TypeError, LookupError, AttributeError):  # a note of other contents; it is not needed
                for path in filter(os.path.lexists, notes):
                    logging.warning("%s cannot be read and is renamed", path)
                    os.replace(path, f"{path}.damaged")
                return ocp.CheckpointManager(self.directory, options=options)

    def numbers(self) -> list[int]:
        """The numbers of the complete checkpoints, sorted; none where the folder does not exist."""
        folders = self.directory.iterdir() if self.directory.is_dir() else ()
        return sorted(int(path.name) for path in folders if _is_number(path.name) and path.is_dir())

    def save(self, number: int, state: TrainState, config: dict[str, Any], notes: dict[str, Any] | None = None) -> None:
        """Writes checkpoint `number`, unless it exists.

        `notes`: what else is needed to resume, as JSON. Errors: CheckpointError, also if an earlier checkpoint was
        still being written and failed.
        """
        if number in self.numbers() or number in self._manager.all_steps():  # the latter may not be on disk yet
            return
        notes = notes or {}
        sums = {"state": checksums(state), "config": checksum_of_json(config), "notes": checksum_of_json(notes)}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(stored_form(state)),
            config=ocp.args.JsonSave(config),
            notes=ocp.args.JsonSave(notes),
            checksums=ocp.args.JsonSave(sums),
        )
        with _failures(lambda error: self._unwritten(f"Checkpoint {number}", error)):
            saved = self._manager.save(number, args=items, force=True)
        if not saved:
            raise CheckpointError(f"Checkpoint {number} could not be written to {self.directory}.")
        logging.info("checkpoint %d -> %s", number, self.directory)

    def restore(self, number: int, like: TrainState) -> TrainState:
        """Checkpoint `number` with the shapes, dtypes and shardings of `like` (arrays or ShapeDtypeStructs).

        Errors: CheckpointError if it cannot be read or its checksums do not match.
        """
        target = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), stored_form(like))
        stored = _checksums(self.directory, number)
        with _failures(
            lambda error: CheckpointError(
                f"Checkpoint {number} in {self.directory} cannot be read as the state of this config "
                f"({_reason(error)}); give the config of its training, or delete it to resume from the one before."
            )
        ):
            with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
                found = reader.restore(self._state(number), args=ocp.args.StandardRestore(target))
            state = dataclasses.replace(like, **found)
        if stored is None:
            logging.info("checkpoint %d in %s was saved without checksums: not verified", number, self.directory)
        elif wrong := damaged(stored.get("state", {}), checksums(state)):
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise _damaged(self.directory, number, f"{wrong[0]}{more} of the state does not match its checksum")
        return state

    def read(self, number: int, fields: Collection[str], sharding: Sharding | None = None) -> dict[str, Any]:
        """These fields of the state of checkpoint `number` as they were saved, whatever network they belong to.

        A field that was not saved is an empty dict. `sharding`: of every array; one device by default.
        Errors: CheckpointError if it cannot be read or its checksums do not match.
        """
        stored = _checksums(self.directory, number)
        sharding = sharding or SingleDeviceSharding(jax.devices()[0])
        with _failures(
            lambda error: CheckpointError(
                f"Checkpoint {number} in {self.directory} cannot be read ({_reason(error)}); give another checkpoint."
            )
        ):
            saved = ocp.PyTreeCheckpointHandler().metadata(self._state(number)).tree
            kept = {name: saved[name] for name in fields if name in saved}
            target = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), kept)
            restore = ocp.args.PyTreeRestore(
                item=target, restore_args=ocp.checkpoint_utils.construct_restore_args(target), partial_restore=True
            )
            with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
                found = reader.restore(self._state(number), args=restore)
        if stored is not None:
            wanted = {
                path: value for path, value in stored.get("state", {}).items() if path[1:].partition("[")[0] in fields
            }
            sums = {f".{name}{path}": value for name in found for path, value in checksums(found[name]).items()}
            if wrong := damaged(wanted, sums):
                raise _damaged(self.directory, number, f"{wrong[0]} of the state does not match its checksum")
        return {name: found.get(name, {}) for name in fields}

    def config(self, number: int) -> dict[str, Any]:
        """The config, as JSON, that checkpoint `number` was trained with. Errors: CheckpointError."""
        found = _item(self.directory, number, "config")
        if found is None:
            raise CheckpointError(f"Checkpoint {number} in {self.directory} has no config; delete it.")
        return found

    def notes(self, number: int) -> dict[str, Any]:
        """The notes saved with checkpoint `number`. Errors: CheckpointError."""
        return _item(self.directory, number, "notes") or {}

    def set_aside(self, number: int) -> None:
        """Renames checkpoint `number` to `<number>.damaged`, which `numbers` ignores."""
        aside = self.directory / f"{number}.damaged"
        with writing(aside):
            shutil.rmtree(aside) if aside.is_dir() else aside.unlink(missing_ok=True)
            os.replace(self.directory / str(number), aside)
            self._reload()

    def delete(self, number: int) -> None:
        """Removes checkpoint `number`."""
        with writing(self.directory):
            self._manager.delete(number)

    def wait(self) -> None:
        """Returns once everything is on disk. Errors: CheckpointError."""
        if "_manager" in vars(self):
            with _failures(lambda error: self._unwritten("A checkpoint", error)):
                self._manager.wait_until_finished()
                self._manager.check_for_errors()

    def close(self) -> None:
        """Waits until everything is on disk. Errors: CheckpointError."""
        try:
            self.wait()
        finally:
            if "_manager" in vars(self):
                self._manager.close()

    def _reload(self) -> None:
        if "_manager" in vars(self):
            self._manager.reload()

    def _state(self, number: int) -> epath.Path:
        return self.directory / str(number) / "state"

    def _unwritten(self, what: str, error: Exception) -> CheckpointError:
        full = next(
            (os.strerror(n) for n in FULL if n == getattr(error, "errno", 0) or os.strerror(n) in str(error)), ""
        )
        left = ", ".join(map(str, self.numbers())) or "none"
        return CheckpointError(
            f"{what} could not be written to {self.directory} ({full or _reason(error)}; intact: {left}); "
            f"{'free some space' if full else 'resolve that'} and start the same command again."
        )


def peek_config(directory: pathlib.Path, number: int | None = None) -> dict[str, Any]:
    """The config of checkpoint `number`, by default the newest, as JSON; uses no device.

    For what has to be known before JAX's devices are set up.
    Errors: CheckpointError where it does not exist or is damaged.
    """
    found = (checkpoints := Checkpoints(directory)).numbers()
    if not found or (number is not None and number not in found):
        raise not_found(directory, number, found)
    return checkpoints.config(max(found) if number is None else number)


def _is_number(name: str) -> bool:
    return name.isdecimal() and str(int(name)) == name


@contextlib.contextmanager
def _failures(explained: Callable[[Exception], CheckpointError]) -> Iterator[None]:
    """Turns whatever Orbax and TensorStore raise, often a bare Exception, into the error that `explained` makes of it.

    What the devices say, such as that memory is exhausted or another process gone, is no matter of the files.
    """
    try:
        yield
    except (RunError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:
        raise peer_gone(error) or explained(error) from error


def _item(directory: pathlib.Path | epath.Path, number: int, item: str) -> dict[str, Any] | None:
    """A JSON item of a checkpoint, verified; None if it was saved without. Errors: CheckpointError."""
    found, stored = _json(directory, number, item), _checksums(directory, number)
    if stored is not None and stored.get(item) != checksum_of_json(found):
        raise _damaged(directory, number, f"{item} does not match its checksum")
    return found


def _checksums(directory: pathlib.Path | epath.Path, number: int) -> dict[str, Any] | None:
    """The checksums of a checkpoint; None for one that was saved before there were any. Errors: CheckpointError."""
    stored, problem = _json(directory, number, "checksums"), unreadable_part(pathlib.Path(directory) / str(number))
    if problem or (stored is not None and not isinstance(stored.get("state"), dict)):
        raise _damaged(directory, number, problem or "its checksums are incomplete")
    return stored


def _json(directory: pathlib.Path | epath.Path, number: int, item: str) -> dict[str, Any] | None:
    """A JSON item of a checkpoint; None if it was saved without. Errors: CheckpointError, also where it was removed."""
    folder = pathlib.Path(directory) / str(number)
    try:
        return read_json(folder / item / "metadata")
    except FileNotFoundError:
        if not _was_saved(folder, item):
            return None
        raise _damaged(directory, number, f"the file {item}/metadata is missing") from None
    except DamagedFileError as error:
        raise _damaged(directory, number, f"the file {item}/metadata cannot be read") from error


def _was_saved(checkpoint: pathlib.Path, item: str) -> bool:
    """Whether a checkpoint was saved with an item, as Orbax has noted; where the note is damaged, all of them."""
    try:
        saved = read_json(checkpoint / _METADATA)["item_handlers"]
    except (OSError, LookupError, DamagedFileError):
        return True
    return not saved or not isinstance(saved, dict) or item in saved


def _damaged(directory: pathlib.Path | epath.Path, number: int, problem: str) -> CheckpointError:
    return CheckpointError(
        f"Checkpoint {number} in {directory} is damaged ({problem}); delete it to resume from the one before."
    )


def not_found(directory: pathlib.Path, number: int | None, available: list[int]) -> CheckpointError:
    """The error for a folder without checkpoint `number`, or without any."""
    return CheckpointError(
        f"No checkpoint{'' if number is None else f' {number}'} was found in {directory}; "
        f"there are: {', '.join(map(str, available)) or 'none'}."
    )


def _reason(error: Exception) -> str:
    """The first line of an error message, without TensorStore's specification, or the name of its class."""
    line = first_line(error).partition(" [tensorstore_spec")[0]
    return line if len(line) <= 300 else f"{line[:300]} ..."

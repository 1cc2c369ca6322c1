"""Checkpoints of a run, for programs that need its parameters but do not train it."""

import contextlib
import logging
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
from jax.sharding import Sharding
from ml_collections import ConfigDict

from builders.data import resolve
from builders.earlier import EarlierRun
from configs import default
from core.errors import ExitCode, RunError
from data.spec import DataSpec
from training import frozen
from training.checkpoint import CheckpointError, Checkpoints, not_found
from training.frozen import FROZEN
from training.objectives.base import Variables
from training.posthoc_ema import Profile, coefficients, combine

FOLDER = "checkpoints"  # below the workdir: those that are kept
FOLDERS = (FOLDER, "checkpoints-meta")


class ConfigMismatchError(RunError):
    """A config contradicts the one that a checkpoint was trained with."""

    exit_code = ExitCode.USER_ERROR


class Restored(NamedTuple):
    """What a checkpoint is sampled and evaluated with."""

    number: int
    step: int
    variables: Variables  # "params", averaged, the collections, and "frozen", the networks of earlier stages


def restore(workdir: pathlib.Path, number: int | None = None, sharding: Sharding | None = None) -> Restored:
    """Checkpoint `number` of a run, by default the newest.

    Errors: CheckpointError where there is none; FrozenPartError where it had other weights of an earlier stage.
    """
    store, number = _open(workdir, number)
    found = store.read(number, ("step", "ema_params", "collections"), sharding)
    frozen_parts = frozen_variables(workdir, store.notes(number))
    store.close()
    if frozen_parts:
        frozen_parts = jax.device_put(frozen_parts, sharding)
    return Restored(number, int(found["step"]), {"params": found["ema_params"], **found["collections"], **frozen_parts})


def frozen_variables(workdir: pathlib.Path, notes: Mapping[str, Any]) -> Variables:
    """The weights of earlier stages that the notes of a checkpoint name, as the collection "frozen" of NumPy arrays.

    Nothing without any. Errors: FrozenPartError where they are missing, or others than those that were noted.
    """
    parts = {name: frozen.read(workdir, name, about["sha256"]) for name, about in notes.get(FROZEN, {}).items()}
    return {FROZEN: parts} if parts else {}


def network_of(key: str, workdir: str, number: int | None = None, sharding: Sharding | None = None) -> EarlierRun:
    """A checkpoint of another run; see `builders.earlier.LoadNetwork`."""
    path = pathlib.Path(workdir)

    def read() -> Variables:
        with _named(key, workdir):
            return restore(path, chosen, sharding).variables

    with _named(key, workdir):
        store, chosen = _open(path, number)
        store.close()
        return EarlierRun(config_of(path, chosen), spec_of(path, chosen), chosen, read)


@contextlib.contextmanager
def _named(key: str, workdir: str) -> Iterator[None]:
    """Turns a CheckpointError into a ValueError with the setting `key`."""
    try:
        yield
    except CheckpointError as error:
        raise ValueError(f"config.{key} = {workdir}: {error}") from error


def average_of_width(config: ConfigDict, workdir: pathlib.Path, sigma_rel: float, number: int | None = None) -> Any:
    """The power-function average of that relative width at checkpoint `number`, from all up to it; arrays on the host.

    Errors: ValueError where `model.ema_sigma_rels` is empty, or for a width that cannot be reached; CheckpointError.
    """
    widths = config.model.ema_sigma_rels
    if not widths:
        raise ValueError(
            "config.model.ema_sigma_rels = (), but a width is chosen from stored averages; train with two."
        )
    store, number = _open(workdir, number)
    numbers = [n for n in store.numbers() if n <= number]
    steps = [int(store.read(n, ("step",))["step"]) for n in numbers]
    weights = coefficients([Profile(s, w) for s in steps for w in widths], Profile(max(steps), sigma_rel))
    averages = (store.read(n, ("averages",))["averages"][f"power_{k}"] for n in numbers for k in range(len(widths)))
    average = combine(weights.tolist(), averages)
    store.close()
    return average


def config_of(workdir: pathlib.Path, number: int | None = None) -> ConfigDict:
    """The config that a checkpoint was trained with. Errors: CheckpointError; ValueError for one of other settings."""
    store, number = _open(workdir, number)
    stored: dict[str, Any] = store.config(number)
    store.close()
    return default.from_json(stored)


def spec_of(workdir: pathlib.Path, number: int | None = None) -> DataSpec | None:
    """What a checkpoint says of its data; None for one that was written before they did. Errors: CheckpointError."""
    store, number = _open(workdir, number)
    stored = store.notes(number).get("data")
    store.close()
    return None if stored is None else DataSpec.from_json(stored)


def has_checkpoint(workdir: pathlib.Path, number: int | None = None) -> bool:
    """Whether there is a checkpoint, or that of a number."""
    try:
        _open(workdir, number)[0].close()
    except CheckpointError:
        return False
    return True


def has_any_checkpoint(workdir: pathlib.Path) -> bool:
    """Whether a run has been saved, to resume from or for good."""
    return any(path.name.isdecimal() for folder in FOLDERS for path in (workdir / folder).glob("*"))


def config_to_use(given: ConfigDict, stored: ConfigDict, spec: DataSpec | None, workdir: pathlib.Path) -> ConfigDict:
    """The config to use a checkpoint with: that which it was trained with, and what else `given` says.

    What `given` leaves unset of the data is the checkpoint's. Errors: ConfigMismatchError where `given` describes
    another model or other data.
    """
    config = given.copy_and_resolve_references()
    with config.unlocked():
        for key, value in default.flatten(stored.data):
            if config.data[key] in (None, "", ()):
                config.data[key] = value
        if spec is not None:
            resolve(config, spec)
        refuse_mismatch(config, stored, workdir)
        taken = []
        for key, value in default.flatten(stored):
            section, _, name = key.rpartition(".")
            part = config[section] if section else config
            if default.mismatch(key) != "given" and not _is_step_count(key, stored) and part[name] != value:
                taken.append(f"{key} = {value!r}")
                part[name] = value
    if taken:
        logging.info("as the checkpoint was trained: %s", ", ".join(taken))
    if config.data.dataset != stored.data.dataset:
        logging.warning("the model was trained on %s; the data here are %s", stored.data.dataset, config.data.dataset)
    return config.lock()


def refuse_mismatch(config: ConfigDict, stored: ConfigDict, workdir: pathlib.Path) -> None:
    """Errors: ConfigMismatchError where a config describes another model, or other data, than a checkpoint has."""
    changed = {
        key: values
        for key, values in default.differences(default.to_json(stored), default.to_json(config)).items()
        if default.mismatch(key) == "error" and not _is_step_count(key, stored)
    }
    if changed:
        listed = "; ".join(f"config.{key} is {new!r}, but {old!r} there" for key, (old, new) in changed.items())
        raise ConfigMismatchError(
            f"--config describes another model than the checkpoint in {workdir} ({listed}); leave --config out, which "
            "uses the checkpoint's own, or give the workdir that belongs to it."
        )


def _is_step_count(key: str, stored: ConfigDict) -> bool:
    """Whether `key` is `model.num_scales` of a continuous model: there it only is the default number of steps."""
    return key == "model.num_scales" and stored.training.continuous


def _open(workdir: pathlib.Path, number: int | None) -> tuple[Checkpoints, int]:
    folder = workdir / FOLDER
    store = Checkpoints(folder) if folder.is_dir() else None
    numbers = store.numbers() if store is not None else []
    if store is None or not numbers or (number is not None and number not in numbers):
        raise not_found(folder, number, numbers)
    return store, numbers[-1] if number is None else number

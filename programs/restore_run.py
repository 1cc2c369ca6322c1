"""Checkpoints of a run, for programs that need its parameters but do not train it.

Wherever a workdir is given, it may be a model that stands alone, see `training.model_folder`.
"""

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
from training import checkpoint, frozen
from training.checkpoint import CheckpointError, Checkpoints, not_found
from training.frozen import FROZEN
from training.model_folder import GUIDE, SUFFIX, ModelFolder, is_model_folder
from training.objectives.base import Variables
from training.posthoc_ema import Profile, coefficients, combine

FOLDER = "checkpoints"  # below the workdir: those that are kept
FOLDERS = (FOLDER, "checkpoints-meta")
Store = Checkpoints | ModelFolder


class ConfigMismatchError(RunError):
    """A config contradicts the one that a checkpoint was trained with."""

    exit_code = ExitCode.USER_ERROR


class Restored(NamedTuple):
    """What a checkpoint is sampled and evaluated with."""

    number: int
    step: int
    variables: Variables  # "params", averaged, the collections, and "frozen", the networks of earlier stages


class About(NamedTuple):
    """What a checkpoint says of itself: its number, the config that it was trained with, and its data.

    spec: None for a checkpoint that was written before they had one.
    """

    number: int
    config: ConfigDict
    spec: DataSpec | None


def restore(workdir: pathlib.Path, number: int | None = None, sharding: Sharding | None = None) -> Restored:
    """Checkpoint `number` of a run, by default the newest, or a model that stands alone.

    Errors: CheckpointError where there is none; FrozenPartError where it had other weights of an earlier stage.
    """
    with _opened(workdir, number) as (store, found_number):
        found = store.read(found_number, ("step", "ema_params", "collections"), sharding)
        frozen_parts = frozen_variables(workdir, store.notes(found_number))
    if frozen_parts:
        frozen_parts = jax.device_put(frozen_parts, sharding)
    variables = {"params": found["ema_params"], **found["collections"], **frozen_parts}
    return Restored(found_number, int(found["step"]), variables)


def check_shapes(restored: Restored, expected: Variables, workdir: pathlib.Path) -> None:
    """Errors: CheckpointError where variables do not have the shapes and dtypes of `expected`, those of the system."""
    found, wanted = (
        {jax.tree_util.keystr(path): f"{leaf.dtype} {leaf.shape}" for path, leaf in leaves}
        for leaves in (
            jax.tree_util.tree_leaves_with_path({k: v for k, v in restored.variables.items() if k != FROZEN}),
            jax.tree_util.tree_leaves_with_path(expected),
        )
    )
    if wrong := sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path)):
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"Checkpoint {restored.number} in {workdir} does not fit its config: {wrong[0]} is "
            f"{found.get(wrong[0], 'missing')}, but {wanted.get(wrong[0], 'nothing')} is expected{more}; restore both "
            "from a copy."
        )


def frozen_variables(workdir: pathlib.Path, notes: Mapping[str, Any]) -> Variables:
    """The weights of earlier stages that the notes of a checkpoint name, as the collection "frozen" of NumPy arrays.

    Nothing without any. Errors: FrozenPartError where they are missing, or others than those that were noted.
    """
    parts = {name: frozen.read(workdir, name, about["sha256"]) for name, about in notes.get(FROZEN, {}).items()}
    return {FROZEN: parts} if parts else {}


def frozen_notes(workdir: pathlib.Path, number: int) -> dict[str, Any]:
    """What a checkpoint notes of the networks of earlier stages, by name; empty without any."""
    with _opened(workdir, number) as (store, found):
        return store.notes(found).get(FROZEN, {})


def network_of(key: str, workdir: str, number: int | None = None, sharding: Sharding | None = None) -> EarlierRun:
    """A checkpoint of another run; see `builders.earlier.LoadNetwork`."""
    path = pathlib.Path(workdir)

    def read() -> Variables:
        with _named(key, workdir):
            return restore(path, chosen, sharding).variables

    with _named(key, workdir):
        chosen, config, spec = about(path, number)
        return EarlierRun(config, spec, chosen, read)


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
    with _opened(workdir, number) as (store, last):
        if isinstance(store, ModelFolder):
            raise ValueError(f"{workdir} has one average alone, from which no width can be made; give a --workdir.")
        numbers = [n for n in store.numbers() if n <= last]
        steps = [int(store.read(n, ("step",))["step"]) for n in numbers]
        weights = coefficients([Profile(s, w) for s in steps for w in widths], Profile(max(steps), sigma_rel))
        averages = (store.read(n, ("averages",))["averages"][f"power_{k}"] for n in numbers for k in range(len(widths)))
        return combine(weights.tolist(), averages)


def about(workdir: pathlib.Path, number: int | None = None) -> About:
    """What checkpoint `number`, by default the newest, says of itself; its arrays are not read.

    Errors: CheckpointError; ValueError for a config of other settings.
    """
    with _opened(workdir, number) as (store, found):
        stored, data = store.config(found), store.notes(found).get("data")
    try:
        spec = None if data is None else DataSpec.from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"Checkpoint {found} in {workdir} does not say what its data are; restore a copy."
        ) from error
    return About(found, _located(default.from_json(stored), workdir), spec)


def peek_config(workdir: pathlib.Path, number: int | None = None) -> ConfigDict:
    """The config of a checkpoint, before JAX's devices are set up; see `training.checkpoint.peek_config`."""
    if is_alone(workdir):
        return _located(default.from_json(ModelFolder(workdir).config(0)), workdir)
    return default.from_json(checkpoint.peek_config(workdir / FOLDER, number))


def _located(config: ConfigDict, workdir: pathlib.Path) -> ConfigDict:
    """The config, in which the guide that was exported with a model is where that model is now."""
    if config.sampling.guide_workdir == GUIDE and is_model_folder(workdir):
        config.sampling.guide_workdir = str(workdir / GUIDE)
    return config


def store_of(workdir: pathlib.Path) -> Store:
    """The checkpoints of a run, or the only one of a model that stands alone; to be closed."""
    return ModelFolder(workdir) if is_alone(workdir) else Checkpoints(workdir / FOLDER)


def is_alone(workdir: pathlib.Path) -> bool:
    """Whether it is a model that stands alone, and no run's workdir. Errors: CheckpointError where only its name is."""
    alone = is_model_folder(workdir)
    if not alone and workdir.suffix == SUFFIX and not (workdir / FOLDER).is_dir():
        raise CheckpointError(f"No model was found in {workdir}; give a folder that --mode=export wrote.")
    return alone


def has_checkpoint(workdir: pathlib.Path, number: int | None = None) -> bool:
    """Whether there is a checkpoint, or that of a number."""
    try:
        with _opened(workdir, number):
            return True
    except CheckpointError:
        return False


def has_any_checkpoint(workdir: pathlib.Path) -> bool:
    """Whether a run has been saved, to resume from or for good."""
    return is_model_folder(workdir) or any(
        path.name.isdecimal() for folder in FOLDERS for path in (workdir / folder).glob("*")
    )


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


@contextlib.contextmanager
def _opened(workdir: pathlib.Path, number: int | None) -> Iterator[tuple[Store, int]]:
    """The store, and the number of a checkpoint that it has. Errors: CheckpointError where it has none."""
    if not is_alone(workdir) and not (workdir / FOLDER).is_dir():
        raise not_found(workdir / FOLDER, number, [])
    store = store_of(workdir)
    try:
        numbers = store.numbers()
        if not numbers or (number is not None and number not in numbers):
            raise not_found(pathlib.Path(store.directory), number, numbers)
        yield store, numbers[-1] if number is None else number
    finally:
        store.close()

"""Checkpoints of a run, for programs that need its parameters but do not train it."""

import logging
import pathlib
from typing import Any

from jax.sharding import Sharding
from ml_collections import ConfigDict

from builders.data import resolve
from builders.state import abstract_state
from configs import default
from core.errors import ExitCode, RunError
from data.spec import DataSpec
from training.checkpoint import CheckpointError, Checkpoints, not_found
from training.posthoc_ema import Profile, coefficients, combine
from training.state import TrainState

FOLDER = "checkpoints"  # below the workdir: those that are kept


class ConfigMismatchError(RunError):
    """A config contradicts the one that a checkpoint was trained with."""

    exit_code = ExitCode.USER_ERROR


def restore(
    config: ConfigDict, workdir: pathlib.Path, number: int | None = None, sharding: Sharding | None = None
) -> tuple[int, TrainState]:
    """Checkpoint `number` of a run, by default the newest, and its number.

    Errors: CheckpointError where there is none, or where its state is not that of this config.
    """
    store, number = _open(workdir, number)
    state = store.restore(number, abstract_state(config, sharding))
    store.close()
    return number, state


def network_of(
    key: str, workdir: str, number: int | None = None, sharding: Sharding | None = None
) -> tuple[ConfigDict, Any]:
    """Config and averaged parameters of another run, which the setting `key` names.

    Errors: ValueError, with the key, where it has no such checkpoint.
    """
    try:
        config = config_of(pathlib.Path(workdir), number)
        _, state = restore(config, pathlib.Path(workdir), number, sharding)
    except CheckpointError as error:
        raise ValueError(f"config.{key} = {workdir}: {error}") from error
    return config, state.ema_params


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
    like = abstract_state(config)
    numbers = [n for n in store.numbers() if n <= number]
    steps = [int(store.restore(n, like).step) for n in numbers]
    weights = coefficients([Profile(s, w) for s in steps for w in widths], Profile(max(steps), sigma_rel))
    averages = (store.restore(n, like).averages[f"power_{k}"] for n in numbers for k in range(len(widths)))
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

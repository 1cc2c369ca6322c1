"""Checkpoints of a run, for programs that need its parameters but do not train it."""

import pathlib
from typing import Any, cast

import jax
from jax.sharding import Sharding, SingleDeviceSharding
from ml_collections import ConfigDict

from builders.optimizer import make_averages, make_optimizer
from builders.score import example_inputs, make_network
from configs import default
from core.arrays import Array
from training.checkpoint import CheckpointError, Checkpoints
from training.posthoc_ema import Profile, coefficients, combine
from training.state import AveragedState, TrainState, initial_state

FOLDER = "checkpoints"  # below the workdir: those that are kept


def initial(config: ConfigDict, key: Array) -> TrainState:
    """The state at step 0; trace it abstractly for its shapes."""
    tx, _ = make_optimizer(config)
    params = make_network(config).init({"params": key}, *example_inputs(config))["params"]
    return initial_state(params, tx, make_averages(config))


def abstract(config: ConfigDict, sharding: Sharding | None = None) -> TrainState:
    """Shapes, dtypes and shardings (one device unless given) of the state, without computing it."""
    sharding = sharding or SingleDeviceSharding(jax.devices()[0])
    shapes = jax.eval_shape(lambda: initial(config, jax.random.key(0)))
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), shapes)


def restore(
    config: ConfigDict, workdir: pathlib.Path, number: int | None = None, sharding: Sharding | None = None
) -> tuple[int, TrainState]:
    """Checkpoint `number` of a run, by default the newest, and its number.

    Errors: CheckpointError where there is none, or where it is not of this config.
    """
    store, number = _open(workdir, number)
    state = store.restore(number, abstract(config, sharding))
    store.close()
    return number, state


def network_of(
    key: str, workdir: str, number: int | None = None, sharding: Sharding | None = None
) -> tuple[ConfigDict, Any]:
    """Config and averaged parameters of another run, that `config.<key>` names.

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

    Errors: ValueError where `model.ema_sigma_rels` is empty or for a width that there is not; CheckpointError.
    """
    widths = config.model.ema_sigma_rels
    if not widths:
        raise ValueError(
            "config.model.ema_sigma_rels = (), but a width is chosen from stored averages; train with two."
        )
    store, number = _open(workdir, number)
    like = abstract(config)
    numbers = [n for n in store.numbers() if n <= number]
    steps = [int(store.restore(n, like).step) for n in numbers]
    weights = coefficients([Profile(s, w) for s in steps for w in widths], Profile(max(steps), sigma_rel))
    averages = (
        cast(AveragedState, store.restore(n, like)).averages[f"power_{k}"] for n in numbers for k in range(len(widths))
    )
    average = combine(weights.tolist(), averages)
    store.close()
    return average


def config_of(workdir: pathlib.Path, number: int | None = None) -> ConfigDict:
    """The config that a checkpoint was trained with. Errors: CheckpointError; ValueError for one of other settings."""
    store, number = _open(workdir, number)
    stored: dict[str, Any] = store.config(number)
    store.close()
    return default.from_json(stored)


def _open(workdir: pathlib.Path, number: int | None) -> tuple[Checkpoints, int]:
    folder = workdir / FOLDER
    store = Checkpoints(folder) if folder.is_dir() else None
    numbers = store.numbers() if store is not None else []
    if store is None or not numbers or (number is not None and number not in numbers):
        raise CheckpointError(
            f"There is no checkpoint{'' if number is None else f' {number}'} in {folder}; "
            f"there are: {', '.join(map(str, numbers)) or 'none'}."
        )
    return store, numbers[-1] if number is None else number

"""The training state of a config."""

from collections.abc import Callable

import jax
from jax.sharding import Sharding, SingleDeviceSharding
from ml_collections import ConfigDict

from builders.optimizer import make_averages, make_optimizer
from core.arrays import Array
from training.objectives.base import Variables
from training.state import TrainState, initial_state


def make_state(config: ConfigDict, variables: Variables) -> TrainState:
    """The state at step 0 of the initial variables, with the config's optimizer and averages."""
    tx, _ = make_optimizer(config)
    return initial_state(variables, tx, make_averages(config))


def abstract_state(
    config: ConfigDict, init: Callable[[Array], Variables], sharding: Sharding | None = None
) -> TrainState:
    """Shapes, dtypes and shardings (one device unless given) of the state, without computing it."""
    sharding = sharding or SingleDeviceSharding(jax.devices()[0])
    shapes = jax.eval_shape(lambda: make_state(config, init(jax.random.key(0))))
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), shapes)

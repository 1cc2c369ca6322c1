"""The training state of a config."""

import jax
from jax.sharding import Sharding, SingleDeviceSharding
from ml_collections import ConfigDict

from builders.network import example_inputs, make_network
from builders.optimizer import make_averages, make_optimizer
from core.arrays import Array
from training.state import TrainState, initial_state


def make_state(config: ConfigDict, key: Array) -> TrainState:
    """The state at step 0; trace it abstractly for its shapes."""
    tx, _ = make_optimizer(config)
    variables = make_network(config).init({"params": key}, *example_inputs(config))
    return initial_state(dict(variables), tx, make_averages(config))


def abstract_state(config: ConfigDict, sharding: Sharding | None = None) -> TrainState:
    """Shapes, dtypes and shardings (one device unless given) of the state, without computing it."""
    sharding = sharding or SingleDeviceSharding(jax.devices()[0])
    shapes = jax.eval_shape(lambda: make_state(config, jax.random.key(0)))
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), shapes)

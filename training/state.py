"""The training state: what training changes, and nothing else."""

from collections.abc import Iterable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from core.arrays import Array


@flax.struct.dataclass
class TrainState:
    """What training changes: no key, no hyperparameter. `step`, int32, counts the steps taken."""

    step: Array
    params: Any
    ema_params: Any
    opt_state: Any


@flax.struct.dataclass
class AveragedState(TrainState):
    """With further averages of the parameters, by name; only for configs that ask for them."""

    averages: Any


def initial_state(params: Any, tx: optax.GradientTransformation, averages: Iterable[str] = ()) -> TrainState:
    """The state at step 0; averages start at the parameters (as copies, because the state is donated)."""
    state = TrainState(jnp.zeros((), jnp.int32), params, jax.tree.map(jnp.copy, params), tx.init(params))
    return with_averages(state, averages)


def with_averages(state: TrainState, names: Iterable[str]) -> TrainState:
    """The state with further averages, each a copy of `ema_params`; without names, the state itself."""
    averages = {name: jax.tree.map(jnp.copy, state.ema_params) for name in names}
    return AveragedState(state.step, state.params, state.ema_params, state.opt_state, averages) if averages else state

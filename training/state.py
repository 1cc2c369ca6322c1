"""The training state: what training changes, and nothing else."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from core.arrays import Array


@flax.struct.dataclass
class TrainState:
    """What training changes: no key, no hyperparameter. `step`, int32, counts the steps taken.

    averages: further averages of the parameters, by name, for configs that ask for them.
    collections: variables beside the parameters, which the objective changes, such as a codebook's running counts.
    They are not averaged: models are evaluated with the averaged parameters and the current collections.
    """

    step: Array
    params: Any
    ema_params: Any
    opt_state: Any
    averages: dict[str, Any] = flax.struct.field(default_factory=dict)
    collections: dict[str, Any] = flax.struct.field(default_factory=dict)

    @property
    def variables(self) -> dict[str, Any]:
        """What is trained: "params" and the collections."""
        return {"params": self.params, **self.collections}

    @property
    def averaged_variables(self) -> dict[str, Any]:
        """What is sampled and evaluated: the averaged "params" and the collections."""
        return {"params": self.ema_params, **self.collections}


def stored_form(state: TrainState) -> dict[str, Any]:
    """The state as a checkpoint stores it: by field, without the optional fields that are empty."""
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: value for name, value in fields.items() if name not in ("averages", "collections") or value}


def initial_state(
    variables: dict[str, Any], tx: optax.GradientTransformation, averages: Iterable[str] = ()
) -> TrainState:
    """The state at step 0; averages start at the parameters (as copies, because the state is donated)."""
    collections = {name: value for name, value in variables.items() if name != "params"}
    params = variables["params"]
    state = TrainState(
        jnp.zeros((), jnp.int32), params, jax.tree.map(jnp.copy, params), tx.init(params), collections=collections
    )
    return with_averages(state, averages)


def with_averages(state: TrainState, names: Iterable[str]) -> TrainState:
    """The state with further averages, each a copy of `ema_params`."""
    return dataclasses.replace(state, averages={name: jax.tree.map(jnp.copy, state.ema_params) for name in names})

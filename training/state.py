"""The training state and the step that advances it."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from sde.base import Array
from training.ema import EMA
from training.losses import Batch, LossFn, Metrics


@flax.struct.dataclass
class TrainState:
    """What training changes, and nothing else: no key, no hyper-parameter. `step` counts the updates made, int32."""

    step: Array
    params: Any
    ema_params: Any
    opt_state: Any


TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def initial_state(params: Any, tx: optax.GradientTransformation) -> TrainState:
    """Step 0; the average starts at the parameters (as a copy, since the state is donated)."""
    return TrainState(jnp.zeros((), jnp.int32), params, jax.tree.map(jnp.copy, params), tx.init(params))


def make_train_step(
    loss_fn: LossFn, tx: optax.GradientTransformation, ema: EMA, schedule: optax.Schedule, key: Array
) -> TrainStep:
    """`step(state, batch) -> (state, metrics)`; step k draws from `fold_in(key, k)` and from nothing else.

    Pure: jit it with the state donated. Metrics, all scalars: those of the loss, `grad_norm` (global, before clipping)
    and `learning_rate`.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        step_key = jax.random.fold_in(key, state.step)
        (_, metrics), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params, step_key, batch)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = ema.update(state.ema_params, params, state.step + 1)
        metrics = {**metrics, "grad_norm": optax.tree.norm(grads), "learning_rate": schedule(state.step)}
        return TrainState(state.step + 1, params, ema_params, opt_state), metrics

    return train_step


def fuse(train_step: TrainStep) -> TrainStep:
    """Several steps in one dispatch: batches, and so metrics, get a leading axis of steps.

    For accelerators; XLA's CPU backend runs a convolutional training step inside a loop an order of magnitude slower.
    """

    def fused(state: TrainState, batches: Batch) -> tuple[TrainState, Metrics]:
        return jax.lax.scan(train_step, state, batches)

    return fused

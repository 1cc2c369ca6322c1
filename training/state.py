"""The training state and the step that advances it."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from core.arrays import Array
from training.accumulation import gradients
from training.ema import EMA, Average, update_all
from training.objectives.score_matching import Batch, LossFn, Metrics


@flax.struct.dataclass
class TrainState:
    """What training changes, and nothing else: no key, no hyper-parameter. `step` counts the updates made, int32."""

    step: Array
    params: Any
    ema_params: Any
    opt_state: Any


@flax.struct.dataclass
class AveragedState(TrainState):
    """With further averages of the parameters, by name: only where the config asks for them."""

    averages: Any


TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def initial_state(params: Any, tx: optax.GradientTransformation, averages: Iterable[str] = ()) -> TrainState:
    """Step 0; averages start at the parameters (as copies, since the state is donated)."""
    state = TrainState(jnp.zeros((), jnp.int32), params, jax.tree.map(jnp.copy, params), tx.init(params))
    return with_averages(state, averages)


def with_averages(state: TrainState, names: Iterable[str]) -> TrainState:
    """The state with further averages, copies of the one it has; the same state where there are no names."""
    averages = {name: jax.tree.map(jnp.copy, state.ema_params) for name in names}
    return AveragedState(state.step, state.params, state.ema_params, state.opt_state, averages) if averages else state


def make_train_step(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    ema: EMA,
    schedule: optax.Schedule,
    key: Array,
    *,
    averages: Mapping[str, Average] = MappingProxyType({}),
    skip_nonfinite: bool = False,
    num_parts: int = 1,
) -> TrainStep:
    """`step(state, batch) -> (state, metrics)`; step k draws from `fold_in(key, k)` and from nothing else.

    Pure: jit it with the state donated. Metrics, all scalars: those of the loss, `grad_norm` (global, before clipping)
    and `learning_rate`. `averages`: further ones, of a state that has them. skip_nonfinite: where the loss or the
    gradient is not finite, only `step` changes and the metric `skipped` is 1, else 0; the optimiser's own count, and
    with it the learning rate, then stays behind `step`. `num_parts` of a batch: see `training.accumulation`.
    """
    gradients_of = gradients(loss_fn, num_parts)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        step_key = jax.random.fold_in(key, state.step)
        (loss, metrics), grads = gradients_of(state.params, step_key, batch)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        norm = optax.tree.norm(grads)
        metrics = {**metrics, "grad_norm": norm, "learning_rate": schedule(state.step)}
        advanced = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            ema_params=ema.update(state.ema_params, params, state.step + 1),
            opt_state=opt_state,
        )
        if isinstance(advanced, AveragedState):
            further = update_all(averages, advanced.averages, params, state.step + 1)
            advanced = dataclasses.replace(advanced, averages=further)
        if not skip_nonfinite:
            return advanced, metrics
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        chosen = jax.tree.map(lambda new, old: jnp.where(finite, new, old), advanced, pass_over(state))
        return chosen, {**metrics, "skipped": 1.0 - finite.astype(jnp.float32)}

    return train_step


def pass_over(state: TrainState) -> TrainState:
    """The state after a step whose batch is left out."""
    return dataclasses.replace(state, step=state.step + 1)


def fuse(train_step: TrainStep) -> TrainStep:
    """Several steps in one dispatch: batches, and so metrics, get a leading axis of steps.

    For accelerators; XLA's CPU backend runs a convolutional training step inside a loop an order of magnitude slower.
    """

    def fused(state: TrainState, batches: Batch) -> tuple[TrainState, Metrics]:
        return jax.lax.scan(train_step, state, batches)

    return fused

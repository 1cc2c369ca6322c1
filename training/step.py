"""The training step: from a state and a batch to the next state and its metrics."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax

from core.arrays import Array
from core.keys import fold_in
from training.accumulation import gradients
from training.ema import EMA, Average, update_all
from training.exchange import Exchange
from training.leafwise import global_norm, map_leaves
from training.objectives.base import Aux, Batch, LossFn, Metrics, Variables
from training.state import TrainState

# (state, batch, variables of frozen networks) -> (state, metrics)
TrainStep = Callable[[TrainState, Batch, Variables], tuple[TrainState, Metrics]]

Mask = Callable[[Any], Any]  # parameters -> a tree like them of bools
NOTHING: Variables = {}


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
    trained: Mask | None = None,
    averaged: Callable[[Any, Any], Any] | None = None,
    exchange: Exchange | None = None,
) -> TrainStep:
    """`step(state, batch, frozen) -> (state, metrics)`; all random numbers of step k come from `fold_in(key, k)`.

    A pure function: compile it with the state donated. `frozen`: further variables for the loss, which are not trained.
    Metrics, all scalars: those of the loss, `grad_norm` (the global norm before clipping) and `learning_rate`.
    averages: rules for the further averages of the state. skip_nonfinite: where the loss or the gradient is not finite,
    only `step` changes and the metric `skipped` is 1, else 0; the optimizer's own count, and with it the learning rate,
    then lags behind `step`. num_parts: gradient accumulation, see `training.accumulation`. trained: which parameters
    are; the others, their averages and their part of `grad_norm` stay exactly as they are, and `tx` must be masked.
    averaged: the parameters that are averaged, from the state of the optimizer and those it trains; by default these.
    exchange: how devices exchange their gradients once per step; by default the compiler decides.
    """
    gradients_of = gradients(loss_fn if trained is None else _stopped(loss_fn, trained), num_parts, exchange)

    def train_step(state: TrainState, batch: Batch, frozen: Variables = NOTHING) -> tuple[TrainState, Metrics]:
        variables = {**state.variables, **frozen}
        (loss, (metrics, collections)), grads = gradients_of(variables, fold_in(key, state.step), batch, state.step)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = map_leaves(lambda p, u: (p + u).astype(p.dtype), state.params, updates)
        norm = global_norm(grads)
        latest = params if averaged is None else averaged(opt_state, params)
        metrics = {**metrics, "grad_norm": norm, "learning_rate": schedule(state.step)}
        advanced = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            ema_params=ema.update(state.ema_params, latest, state.step + 1),
            opt_state=opt_state,
            averages=update_all(averages, state.averages, latest, state.step + 1),
            collections={**state.collections, **collections},
        )
        if trained is not None:
            advanced = _only(trained(params), advanced, state)
        if not skip_nonfinite:
            return advanced, metrics
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        chosen = jax.tree.map(lambda new, old: jnp.where(finite, new, old), advanced, skip_batch(state))
        return chosen, {**metrics, "skipped": 1.0 - finite.astype(jnp.float32)}

    return train_step


def _stopped(loss_fn: LossFn, trained: Mask) -> LossFn:
    """The loss without the gradients of parameters that are not trained."""

    def stopped(variables: Variables, key: Array, batch: Batch, step: Array) -> tuple[Array, Aux]:
        params = variables["params"]
        params = jax.tree.map(lambda t, p: p if t else jax.lax.stop_gradient(p), trained(params), params)
        return loss_fn({**variables, "params": params}, key, batch, step)

    return stopped


def _only(mask: Any, new: TrainState, old: TrainState) -> TrainState:
    """The new state with the old parameters and averages where the mask is False."""

    def only(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda trained, n, o: n if trained else o, mask, new, old)

    averages = {name: only(average, old.averages[name]) for name, average in new.averages.items()}
    return dataclasses.replace(
        new, params=only(new.params, old.params), ema_params=only(new.ema_params, old.ema_params), averages=averages
    )


def skip_batch(state: TrainState) -> TrainState:
    """The state after a step whose batch is left out."""
    return dataclasses.replace(state, step=state.step + 1)


def fuse(train_step: TrainStep) -> TrainStep:
    """Several steps in one dispatch: batches, and therefore metrics, have a leading axis of steps.

    For accelerators; XLA's CPU backend runs a convolutional training step inside a loop an order of magnitude slower.
    """

    def fused(state: TrainState, batches: Batch, frozen: Variables = NOTHING) -> tuple[TrainState, Metrics]:
        return jax.lax.scan(lambda state, batch: train_step(state, batch, frozen), state, batches)

    return fused

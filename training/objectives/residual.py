"""The losses of models of residual tokens: of masked ones, and of each given those before it."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from core.arrays import Array
from core.keys import ExampleKey, fold_in
from corruption.depth_mask import DepthMask
from training.objectives.base import Batch, Objective, Terms, Variables
from training.objectives.score_matching import SampleTimes

# variables -> what predictions and process are made of; (that, batch, dropout key or None) -> predict
PredictOf = Callable[[Any, Batch, Array | None], Callable[[Array, Array], Any]]
WeightsOf = Callable[[Variables], Any]


def masked_sums(
    predict_of: PredictOf,
    weights_of: WeightsOf,
    process_of: Callable[[Any], DepthMask],
    sample_u: SampleTimes,
    *,
    reduce_mean: bool,
) -> Objective:
    """The objective with the loss "bound": -log p of all masked tokens, in nats, at a uniform time of each example.

    E_t sum_i -log p(masked tokens of position i | x_t)    over the number of tokens (`reduce_mean`) or not

    Of the masked tokens of a position together; see `DepthMask.step_nats` for what rounds of sampling need of it.
    """

    def objective(variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array) -> Terms:
        weights, x0 = weights_of(variables), batch["x"].astype(jnp.int32)
        process, (t, _) = process_of(weights), sample_u(fold_in(keys, ExampleKey.TIME))
        x, _ = process.corrupt(fold_in(keys, ExampleKey.NOISE), x0, t)
        nats = process.tokens.nats(predict_of(weights, batch, dropout_key)(x, t), x0, x)
        return Terms({"bound": _per_example(nats, reduce_mean)})

    return objective


def each_given_those_before(predict_of: PredictOf, weights_of: WeightsOf, *, reduce_mean: bool) -> Objective:
    """The objective with the loss "nats": -log p of all tokens, by one call of a causal network."""

    def objective(variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array) -> Terms:
        x0 = batch["x"].astype(jnp.int32)
        prediction = predict_of(weights_of(variables), batch, dropout_key)(x0, jnp.zeros(len(x0)))
        nats = -jnp.take_along_axis(prediction.log_probs, x0[..., None], axis=-1)[..., 0]
        return Terms({"nats": _per_example(nats, reduce_mean)})

    return objective


def _per_example(nats: Array, reduce_mean: bool) -> Array:
    """The sum [B] over the tokens of each example, or their mean."""
    total = jnp.sum(nats.reshape(len(nats), -1), axis=1)
    return total / math.prod(nats.shape[1:]) if reduce_mean else total

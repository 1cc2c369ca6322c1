"""The bound on the likelihood of categories as a training loss."""

import math
from collections.abc import Callable

import jax.numpy as jnp

from core.arrays import Array
from core.keys import ExampleKey, fold_in
from corruption.predictions import PredictCategories
from corruption.terms import Term
from training.objectives.base import Batch, Objective, Params, Prepare, Terms, Variables
from training.objectives.score_matching import SampleTimes

# (params, batch, dropout key or None) -> PredictCategories
PredictCategoriesOf = Callable[[Params, Batch, Array | None], PredictCategories]


def identity_quantile(u: Array) -> tuple[Array, Array]:
    """u itself, with weight 1: the terms of a bound know their own times."""
    return u, jnp.ones_like(u)


def categorical_bound(
    predict_of: PredictCategoriesOf, term: Term, prepare: Prepare, sample_u: SampleTimes, *, reduce_mean: bool
) -> Objective:
    """The objective with the loss "bound": one term of the bound of each example, in nats.

    It is divided by the number of sites (`reduce_mean`) or not. u and the noise of an example come from its own key.
    """

    def objective(variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array) -> Terms:
        x0 = prepare(fold_in(keys, ExampleKey.DATA), batch)
        u, weight = sample_u(fold_in(keys, ExampleKey.TIME))
        predict = predict_of(variables["params"], batch, dropout_key)
        nats = weight * term(predict, fold_in(keys, ExampleKey.NOISE), x0, u)
        return Terms({"bound": nats / math.prod(x0.shape[1:]) if reduce_mean else nats})

    return objective

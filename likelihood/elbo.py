"""The bound on the log-likelihood of any process: a mean of random terms, with its standard error."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.keys import BoundKey, fold_in
from corruption.base import Process
from corruption.categorical import Absorbing, certain
from corruption.predictions import Categorical, PredictCategories
from corruption.terms import Term
from likelihood.bound import standard_error_of_strata


class Elbo(NamedTuple):
    """An upper bound on -log p(x0) of each example [B], in nats, and the standard error of its estimate [B].

    The error is NaN for one term, see `likelihood.bound.Bound`. num_evals: predictions (int32).
    """

    nats: Array
    standard_error_nats: Array
    num_evals: Array


def elbo(predict: Any, process: Process, term: Term, x0: Array, keys: Array, *, num_times: int = 1) -> Elbo:
    """Bounds -log p of data `x0` [B, ...] by the mean of `num_times` terms, one in each of as many strata of u.

    -log p(x0) <= KL(q_1 | prior) + E_u[term(u)],    u uniform in [0, 1)

    `keys` [B]: one per example, consumed. `term`: of `corruption.terms`, in continuous time or on a grid, for `process`
    and `predict`. Of a grid that ends before the data, the term that is missing is a decoder's.
    """

    def estimate(k: Array) -> Array:
        key = fold_in(keys, k)
        u = (k + jax.vmap(lambda key: jax.random.uniform(key, ()))(fold_in(key, BoundKey.TIME))) / num_times
        return term(predict, fold_in(key, BoundKey.NOISE), x0, u)

    each = jax.lax.map(estimate, jnp.arange(num_times))  # [K, B]
    nats = process.prior_nats(x0) + jnp.mean(each, axis=0)
    return Elbo(nats, standard_error_of_strata(each), jnp.asarray(num_times, jnp.int32))


def of_known(predict: PredictCategories, process: Absorbing, x0: Array, known: Array) -> PredictCategories:
    """The predictions whose `elbo` bounds `-log p` of the sites of x0 [B, ...] where `known` alone.

    The others are always masked, and predicted without error: they have no terms.
    """
    sure = certain(x0, process.num_categories).log_probs

    def predict_known(z: Array, t: Array) -> Categorical:
        found = predict(jnp.where(known, z, process.mask), t).log_probs
        return Categorical(jnp.where(known[..., None], found, sure))

    return predict_known

"""The bound on the likelihood of categories, as a mean of terms at random times.

    -log p(x0) <= E_u[term(u)],    u uniform in [0, 1)

Training averages one term of each example of a batch, an evaluation averages several of one example.
"""

from collections.abc import Callable

import jax.numpy as jnp

from core.arrays import Array
from corruption.categorical import CategoricalNoise
from corruption.predictions import PredictCategories
from sde.times import Quantile

# (predict, keys [B], x0 [B, ...], u [B]) -> [B], in nats; makes one prediction and consumes the keys
Term = Callable[[PredictCategories, Array, Array, Array], Array]


def continuous(process: CategoricalNoise, quantile: Quantile) -> Term:
    """The integral over all times of `process.rate_nats`, at times of any distribution. KL(q_1 | prior) is zero."""

    def term(predict: PredictCategories, keys: Array, x0: Array, u: Array) -> Array:
        t, weight = quantile(u)
        z, _ = process.corrupt(keys, x0, t)
        return weight * process.rate_nats(predict(z, t), x0, z, t)

    return term


def discrete(process: CategoricalNoise, num_steps: int) -> Term:
    """The sum of KL terms over a grid of `num_steps` equal steps; the last one is -log p(x0 | z).

    It bounds the likelihood of the samples that ancestral sampling in these steps has.
    """

    def term(predict: PredictCategories, keys: Array, x0: Array, u: Array) -> Array:
        k = jnp.minimum(jnp.floor(u * num_steps), num_steps - 1)
        t, t_next = (k + 1) / num_steps, k / num_steps
        z, _ = process.corrupt(keys, x0, t)
        return num_steps * process.step_nats(predict(z, t), x0, z, t, t_next)

    return term

"""The bound on a likelihood, as a mean of terms at random times.

    -log p(x0) <= KL(q_1 | prior) + E_u[term(u)],    u uniform in [0, 1)

Training averages one term of each example of a batch, an evaluation averages several of one example.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from corruption.base import Process
from corruption.categorical import CategoricalNoise
from corruption.predictions import PredictCategories
from sde.times import Quantile

# (predict, keys [B], x0 [B, ...], u [B]) -> [B], in nats; makes one prediction and consumes the keys
Term = Callable[[Any, Array, Array, Array], Array]


def continuous(process: CategoricalNoise, quantile: Quantile) -> Term:
    """The integral over all times of `process.rate_nats`, at times of any distribution."""

    def term(predict: PredictCategories, keys: Array, x0: Array, u: Array) -> Array:
        t, weight = quantile(u)
        z, _ = process.corrupt(keys, x0, t)
        return weight * process.rate_nats(predict(z, t), x0, z, t)

    return term


def discrete(process: Process, times: Sequence[float] | Array | np.ndarray) -> Term:
    """The sum of `process.step_nats` over the steps between increasing `times` [T + 1], up to 1.

    It bounds the likelihood of what ancestral sampling in these steps has at the first of these times: the data, for
    categories at 0.
    """
    num_steps = len(times) - 1

    def term(predict: Any, keys: Array, x0: Array, u: Array) -> Array:
        grid, k = jnp.asarray(times, jnp.float32), jnp.minimum(jnp.floor(u * num_steps), num_steps - 1).astype(int)
        t, t_next = grid[k + 1], grid[k]
        x, _ = process.corrupt(keys, x0, t)
        return num_steps * process.step_nats(predict(x, t), x0, x, t, t_next)

    return term

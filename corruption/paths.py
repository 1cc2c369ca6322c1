"""Paths of times: which times of an SDE the numbers of an example go through, all the same or each its own."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from core.arrays import Array
from corruption.predictions import Predict

# u [B] in [0, 1] -> where in [0, 1] each number is, and how fast it moves with u; [B], or [B, ...] as the data.
Path = Callable[[Array], tuple[Array, Array]]


class Conditioned(NamedTuple):
    """A model given a latent of each example: predictions, the path of times, what the latent costs in nats [B]."""

    predict: Predict
    path: Path
    nats: Array | float = 0.0


def straight(u: Array) -> tuple[Array, Array]:
    """u itself, for all numbers."""
    return u, jnp.ones_like(u)

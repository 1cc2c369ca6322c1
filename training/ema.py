"""Exponential moving average of the parameters."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sde.base import Array


@dataclasses.dataclass(frozen=True)
class EMA:
    """`ema <- r ema + (1 - r) params` after each step, r = rate.

    warmup: r = min(rate, (1 + k) / (10 + k)) at the k-th update, k = 1, 2, ...
    Notes: the published JAX code has no warm-up and the published PyTorch code has it; here it is a setting, off.
    """

    rate: float
    warmup: bool = False

    def update(self, ema: Any, params: Any, num_updates: Array) -> Any:
        """The average after update number `num_updates` (1 for the first)."""
        rate = jnp.asarray(self.rate, jnp.float32)
        if self.warmup:
            rate = jnp.minimum(rate, (1.0 + num_updates) / (10.0 + num_updates))
        return jax.tree.map(lambda e, p: rate * e + (1 - rate) * p, ema, params)

"""Averages of the parameters: exponential, and power-function averages whose width can be chosen after training."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array


class Average(Protocol):
    """A running average of the parameters."""

    def update(self, ema: Any, params: Any, num_updates: Array) -> Any:
        """The average after update `num_updates` = 1, 2, ..."""
        ...


@dataclasses.dataclass(frozen=True)
class EMA:
    """`ema <- r ema + (1 - r) params` after each step, r = rate.

    warmup: r = min(rate, (1 + k) / (10 + k)) at the k-th update, k = 1, 2, ...
    Notes: the published PyTorch code warms up and the published JAX code does not; here it is a setting, off.
    """

    rate: float
    warmup: bool = False

    def update(self, ema: Any, params: Any, num_updates: Array) -> Any:
        """The average after update `num_updates` = 1, 2, ..."""
        rate = jnp.asarray(self.rate, jnp.float32)
        if self.warmup:
            rate = jnp.minimum(rate, (1.0 + num_updates) / (10.0 + num_updates))
        blend = jax.jit(lambda rate, e, p: rate * e + (1 - rate) * p)
        return jax.tree.map(lambda e, p: blend(rate, e, p), ema, params)


@dataclasses.dataclass(frozen=True)
class PowerEMA:
    """The average of the parameters so far, with weights proportional to step^gamma: early parameters are forgotten.

        ema <- b ema + (1 - b) params,   b = (1 - 1/k)^(gamma + 1) at the k-th update

    so that update j of k has the weight (j^(gamma + 1) - (j - 1)^(gamma + 1)) / k^(gamma + 1), and the initial
    parameters have none. sigma_rel is the standard deviation of these weights over time, relative to k.
    Source: Karras et al., CVPR 2024, section 3.1, equations 1 and 2.
    """

    sigma_rel: float

    def update(self, ema: Any, params: Any, num_updates: Array) -> Any:
        """The average after update `num_updates` = 1, 2, ..."""
        power = exponent(self.sigma_rel) + 1
        # 1 - b with expm1, as b is 1 - 1e-5 after a million updates; log1p(-1) is -inf, so b = 0 at the first.
        share = -jnp.expm1(power * jnp.log1p(-1.0 / jnp.asarray(num_updates, jnp.float32)))
        blend = jax.jit(lambda share, e, p: e + share * (p - e))
        return jax.tree.map(lambda e, p: blend(share, e, p), ema, params)


def exponent(sigma_rel: float) -> float:
    """gamma of a relative width: the only positive solution of sigma^2 = (g + 1) / ((g + 2)^2 (g + 3)).

    Errors: ValueError outside (0, 0.288), where none exists. Source: Karras et al. 2024, equation 3.
    """
    if not 0 < sigma_rel < 12**-0.5:
        raise ValueError(
            f"sigma_rel = {sigma_rel:g}, but it must be in (0, 0.288), that of a uniform average; try 0.05 to 0.15."
        )
    t = sigma_rel**-2
    return float(np.roots([1, 7, 16 - t, 12 - t]).real.max())


def update_all(averages: Mapping[str, Average], current: Mapping[str, Any], params: Any, num_updates: Array) -> Any:
    """Every average of `current` after update `num_updates` = 1, 2, ..."""
    return {name: average.update(current[name], params, num_updates) for name, average in averages.items()}

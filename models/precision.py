"""Parameters in the type that a network computes in, converted once however often the network is evaluated."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp


def converted(params: Any, dtype: Any) -> Any:
    """The parameters of convolutions and dense layers in `dtype`; all others as they are, in float32.

    The others are those of normalisations, tables of classes and Fourier frequencies. A layer would convert its own
    before each use, so a network gives the same numbers, bit for bit, with either; a sampler that evaluates it a
    thousand times converts and reads half the bytes. Differentiable: gradients have the type of `params`.
    """
    if not isinstance(params, Mapping) or dtype == jnp.float32:
        return params
    linear = any(jnp.ndim(leaf) > 1 and name != TABLE for name, leaf in params.items() if not isinstance(leaf, Mapping))
    return {
        name: jnp.asarray(leaf, dtype) if linear and not isinstance(leaf, Mapping) else converted(leaf, dtype)
        for name, leaf in params.items()
    }


TABLE = "embedding"  # what flax calls the rows of a table

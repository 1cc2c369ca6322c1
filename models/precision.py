"""Parameters in the dtype that a network computes in, converted once for any number of evaluations."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp


def converted(params: Any, dtype: Any) -> Any:
    """The parameters of convolutions and dense layers in `dtype`; all others unchanged, in float32.

    The others are those of normalization, state-space layers, class embeddings and Fourier frequencies. A layer
    converts its parameters before each use, so a network returns the same numbers, bit for bit, with either; but a
    sampler that evaluates it a thousand times then converts once and reads half the bytes. Differentiable: gradients
    have the dtype of `params`.
    """
    if not isinstance(params, Mapping) or dtype == jnp.float32:
        return params
    linear = any(
        jnp.ndim(leaf) > 1 and not name.endswith(FULL_PRECISION)
        for name, leaf in params.items()
        if not isinstance(leaf, Mapping)
    )
    return {
        name: jnp.asarray(leaf, dtype) if linear and not isinstance(leaf, Mapping) else converted(leaf, dtype)
        for name, leaf in params.items()
    }


FULL_PRECISION = ("embedding", "log_decay", "frequency", "readout")  # names of tables' rows, and of state-space layers

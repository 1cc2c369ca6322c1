"""Rematerialization: only the input of a block is stored for the gradient, and what a policy names."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax

Remat = bool | str  # False; True, which is the policy "nothing"; or the name of a policy
# What is stored beside the inputs of blocks: products of matrices, or only those with parameters.
POLICIES: dict[str, Callable[..., Any] | None] = {
    "nothing": None,
    "dots": jax.checkpoint_policies.dots_saveable,
    "dots_without_batch": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def block(kind: type[nn.Module], remat: Remat, static: Sequence[int] = ()) -> type[nn.Module]:
    """The class `kind`; with `remat`, one that computes its activations again for the gradient.

    Same parameters under the same names, same values, same dropout; only the inputs of blocks are stored, and what the
    policy names, at the cost of a second forward pass. static: numbers, from 1, of the arguments of `__call__` that are
    not arrays. Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
    """
    if not remat:
        return kind
    policy = None if remat is True else POLICIES[remat]
    # Flax names a block, and so its parameters, by its class.
    lifted = nn.remat(kind, static_argnums=tuple(static), policy=policy)
    return type(kind.__name__, (lifted,), {"__module__": kind.__module__})

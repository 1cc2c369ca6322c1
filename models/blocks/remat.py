"""Rematerialization: only the input of a block is stored for the gradient."""

from collections.abc import Sequence

import flax.linen as nn


def block(kind: type[nn.Module], remat: bool, static: Sequence[int] = ()) -> type[nn.Module]:
    """The class `kind`; with `remat`, one that computes its activations again for the gradient.

    Same parameters under the same names, same values, same dropout; only the inputs of blocks are stored, at the cost
    of a second forward pass. static: numbers, from 1, of the arguments of `__call__` that are not arrays.
    Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
    """
    if not remat:
        return kind
    # Flax names a block, and so its parameters, by its class.
    return type(kind.__name__, (nn.remat(kind, static_argnums=tuple(static)),), {"__module__": kind.__module__})

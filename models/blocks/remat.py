"""Blocks of which only the input is kept for the gradient."""

from collections.abc import Sequence

import flax.linen as nn


def block(kind: type[nn.Module], again: bool, static: Sequence[int] = ()) -> type[nn.Module]:
    """The kind of block; with `again` one that computes what is inside it a second time for the gradient.

    Same parameters under the same names, same values, same dropout; memory for the inputs of blocks alone, and time for
    a second pass forward. `static`: the numbers of the arguments of `__call__`, from 1, that are no arrays.
    Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
    """
    if not again:
        return kind
    # By its class flax names a block, and so its parameters.
    return type(kind.__name__, (nn.remat(kind, static_argnums=tuple(static)),), {"__module__": kind.__module__})

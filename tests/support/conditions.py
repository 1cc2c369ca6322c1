"""Signals that enter networks in each of the four ways, and values of them."""

import numpy as np

from models.blocks.conditioning import ENTRIES, Given, Signal
from models.networks.mlp import MLP
from models.networks.ncsnpp import NCSNpp
from tests.support.networks import TINIEST, VECTORS

B = 2
SIGNALS = {
    "add": Signal("attributes", "add"),
    "norm": Signal("digit", "norm", num_classes=10),
    "concat": Signal("mask", "concat"),
    "cross": Signal("text", "cross", num_classes=7),
}
KINDS = {
    "mlp": (MLP(**VECTORS), (B, 5), ("add", "norm", "concat")),
    "ncsnpp": (NCSNpp(**TINIEST), (B, 4, 4, 3), ENTRIES),
}


def values_of(entry, shape, seed=0):
    """Values of a signal that enters in this way, for data of a shape [B, ..., C]."""
    rng = np.random.default_rng(seed)
    sides = tuple(max(1, side // 2) for side in shape[1:-1])
    return {
        "add": rng.standard_normal((B, 4)).astype(np.float32),
        "norm": rng.integers(0, 10, B).astype(np.int32),
        "concat": rng.standard_normal((B, *sides, 2)).astype(np.float32),  # half the size of the data
        "cross": rng.integers(0, 7, (B, 3)).astype(np.int32),
    }[entry]


def cond_of(entries, shape, seed=0, without=()):
    """A condition with all signals but those that enter in the ways `without`."""
    return {
        SIGNALS[entry].name: Given(values_of(entry, shape, seed), np.full(B, entry not in without)) for entry in entries
    }

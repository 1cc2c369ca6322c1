"""Sweeps as lists of overrides: a dict from dotted config keys to values for each run.

def get_sweep():
    return product(vary("optim.lr", [1e-3, 3e-4]), vary("seed", [0, 1, 2]))      # six runs
"""

import itertools
from collections.abc import Iterable
from typing import Any

Overrides = dict[str, Any]
Sweep = list[Overrides]


def vary(key: str, values: Iterable[Any]) -> Sweep:
    """A run for each value of one key."""
    return [{key: value} for value in values]


def product(*sweeps: Sweep) -> Sweep:
    """Every combination; the last sweep varies fastest. Errors: ValueError for a key that two of them set."""
    return [_merged(overrides) for overrides in itertools.product(*sweeps)]


def paired(*sweeps: Sweep) -> Sweep:
    """The first overrides of all sweeps together, the second ones, and so on.

    Errors: ValueError for sweeps of different lengths, or for a key that two of them set.
    """
    lengths = [len(sweep) for sweep in sweeps]
    if len(set(lengths)) > 1:
        raise ValueError(f"paired(...) was given sweeps of {lengths} runs, but all must be of one length; use product.")
    return [_merged(overrides) for overrides in zip(*sweeps, strict=True)]


def chain(*sweeps: Sweep) -> Sweep:
    """The runs of the first sweep, then those of the second, and so on."""
    return list(itertools.chain(*sweeps))


def _merged(parts: Iterable[Overrides]) -> Overrides:
    merged: Overrides = {}
    for part in parts:
        for key in part:
            if key in merged:
                raise ValueError(f"{key} is set by two of the sweeps that are combined; let one of them set it.")
        merged |= part
    return merged

"""Starting from the variables of another run: what fits is taken, by path, and the rest keeps its initial value."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from core.arrays import Array
from training.objectives.base import Variables


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What was taken from another run, and what was not and why; by path, such as "params/Dense_0/kernel"."""

    taken: tuple[str, ...]
    missing: tuple[str, ...]  # not in the other run
    different: tuple[str, ...]  # of another shape or dtype there, which the entries say
    unused: tuple[str, ...]  # only in the other run

    def summary(self) -> str:
        """One line."""
        total = len(self.taken) + len(self.missing) + len(self.different)
        parts = [f"{len(self.taken)} of {total} arrays taken"]
        for words, paths in (("missing there", self.missing), ("different", self.different), ("unused", self.unused)):
            parts += [f"{words}: {_listed(paths)}"] if paths else []
        return "; ".join(parts)


def transfer(variables: Variables, source: Mapping[str, Any]) -> tuple[Variables, Transfer]:
    """`variables` with every array of `source` that has the same path, shape and dtype; `variables` may be abstract."""
    wanted, given = flatten_dict(dict(variables), sep="/"), flatten_dict(dict(source), sep="/")
    different = {path for path in wanted.keys() & given.keys() if _type(wanted[path]) != _type(given[path])}
    taken = (wanted.keys() & given.keys()) - different
    report = Transfer(
        tuple(sorted(taken)),
        tuple(sorted(wanted.keys() - given.keys())),
        tuple(f"{path} ({_type(given[path])} there, {_type(wanted[path])} here)" for path in sorted(different)),
        tuple(sorted(given.keys() - wanted.keys())),
    )
    return unflatten_dict({path: given[path] if path in taken else wanted[path] for path in wanted}, sep="/"), report


def _type(leaf: Array | jax.ShapeDtypeStruct) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"


def _listed(paths: tuple[str, ...], most: int = 5) -> str:
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(paths[:most]) + more

"""The contents of another program's checkpoint in this project's names and shapes, checked against a network.

Within `interop`, parameters are flat: `{"ResnetBlockBigGANpp_0/Conv_0/kernel": array}`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

Flat = dict[str, np.ndarray]
Tree = Mapping[str, Any]

_NAMED = 4  # tensors that an error names for each kind of mismatch; the rest are counted
_LONGEST = 80  # characters of a name that an error shows


class CheckpointFormatError(ValueError):
    """A file is not a checkpoint that can be imported, or does not match the config; the message says why."""


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam's state: `count` updates made, first moments `mu`, second moments `nu` (without bias correction)."""

    count: int
    mu: Flat
    nu: Flat


@dataclasses.dataclass(frozen=True)
class Imported:
    """The contents of an imported file.

    step: number of optimizer steps. adam: None if the file has no optimizer state. settings: hyperparameters in the
    file, by their key in the config; they are logged, never used.
    """

    kind: str
    step: int
    params: Flat
    ema_params: Flat
    adam: Adam | None
    settings: dict[str, float] = dataclasses.field(default_factory=dict)


def flatten(tree: Any) -> dict[str, Any]:
    """`{"a": {"b": leaf}}` as `{"a/b": leaf}`; an empty mapping has no leaves.

    Errors: CheckpointFormatError for a name that is not a string or contains "/".
    """
    flat, pending = {}, [("", tree)]
    while pending:  # a loop instead of recursion: nesting in a hostile file has no limit
        prefix, node = pending.pop()
        if not isinstance(node, Mapping):
            flat[prefix] = node
            continue
        for name, child in node.items():
            if not isinstance(name, str) or "/" in name:
                raise CheckpointFormatError(f"has a tensor under the name {name!r}, which is not a parameter name.")
            pending.append((f"{prefix}/{name}" if prefix else name, child))
    return dict(sorted(flat.items()))


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`: nested parameters, as the networks take them.

    Errors: CheckpointFormatError for a name that is also the beginning of another.
    """
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise CheckpointFormatError(f"has the tensor {path[:_LONGEST]} and one by the beginning of its name.")
        if name in node:
            raise CheckpointFormatError(f"has the tensor {path[:_LONGEST]} and one by the beginning of its name.")
        node[name] = leaf
    return tree


def fit(imported: Imported, like: Tree) -> Imported:
    """The same in the dtypes of `like`, the network's parameters (nested; anything with `shape` and `dtype`).

    Errors: CheckpointFormatError that names missing, unexpected, misshapen, non-finite and invalid tensors.
    """
    adam = imported.adam
    if adam is not None:
        adam = Adam(
            adam.count,
            fit_part("Adam's first moments", adam.mu, like),
            fit_part("Adam's second moments", adam.nu, like),
        )
        if bad := [name for name, value in adam.nu.items() if (value < 0).any()]:
            raise CheckpointFormatError(f"has negative second moments of Adam ({', '.join(bad[:_NAMED])}).")
    return dataclasses.replace(
        imported,
        params=fit_part("the parameters", imported.params, like),
        ema_params=fit_part("the averaged parameters", imported.ema_params, like),
        adam=adam,
    )


def fit_part(part: str, given: Mapping[str, Any], like: Tree, theirs: Mapping[str, str] | None = None) -> Flat:
    """One set of parameters in the dtypes of `like`; `part` is how an error refers to it.

    theirs: the file's own names by ours, which the error adds to tensors that are missing. Errors: see `fit`.
    """
    wanted, theirs = flatten(like), theirs or {}
    for name, value in given.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            what = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
            raise CheckpointFormatError(f"has {what} as {name} of {part}, but floating-point numbers are expected.")
    missing = [n for n in wanted if n not in given]
    unexpected = [n for n in given if n not in wanted]
    reshaped = [n for n in wanted if n in given and tuple(given[n].shape) != tuple(wanted[n].shape)]
    if missing or unexpected or reshaped:
        groups = [
            _group("missing", [_named(n, wanted[n], theirs.get(n)) for n in missing]),
            _group("unexpected", [_named(n, given[n]) for n in unexpected]),
            _group("of another shape", [f"{_named(n, given[n])} instead of {_shape(wanted[n])}" for n in reshaped]),
        ]
        raise CheckpointFormatError(
            f"does not match the network of the config: in {part}, {'; '.join(filter(None, groups))}. Nothing was "
            "written; give the config that the file was trained with."
        )
    flat = {name: np.ascontiguousarray(given[name], wanted[name].dtype) for name in wanted}
    if bad := [name for name, value in flat.items() if not np.isfinite(value).all()]:
        raise CheckpointFormatError(f"has numbers that are not finite in {part} ({', '.join(bad[:_NAMED])}).")
    return flat


def _shape(value: Any) -> str:
    return f"({', '.join(map(str, value.shape))})"


def _named(name: str, value: Any, theirs: str | None = None) -> str:
    """`Conv_0/kernel (3, 3, 1, 8)`; names from a file may be of any length."""
    short = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
    return f"{short} {_shape(value)}" + (f" = {theirs}" if theirs else "")


def _group(what: str, items: list[str]) -> str:
    """`2 tensors are missing: a, b`; empty for no items."""
    if not items:
        return ""
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    subject = f"{len(items)} tensors are" if len(items) > 1 else "1 tensor is"
    return f"{subject} {what} ({', '.join(items[:_NAMED])}{more})"


def integer(name: str, value: Any) -> int:
    """A count that a file contains as an int, or as an array or a float with one value.

    Errors: CheckpointFormatError for anything else, and for a count beyond int32.
    """
    number = value.item() if isinstance(value, np.ndarray | np.generic) and value.size == 1 else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < 2**31 or number % 1:
        raise CheckpointFormatError(
            f"has {name} = {str(value)[:50]}, but it must be a whole number from 0 to 2^31 - 1."
        )
    return int(number)


def settings(found: Mapping[str, Any]) -> dict[str, float]:
    """The entries of `found` that are single numbers; settings are only logged, so anything else is left out."""
    numbers = {key: np.asarray(value) for key, value in found.items() if isinstance(value, float | int | np.ndarray)}
    return {key: float(value.item()) for key, value in numbers.items() if value.dtype.kind in "fiu" and value.size == 1}

"""Samples for given values of the fields that a network is conditioned on: the task conditioned of mode sample."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from builders.condition import conditions
from core.array_files import read_npz
from core.reading import UnreadableError
from systems.requests.base import Request, SampleFn
from systems.requests.generate import generated

if TYPE_CHECKING:  # systems have tables of their tasks
    from systems.base import System


@dataclasses.dataclass(frozen=True)
class Conditioned(Request):
    """A number of samples for each of N values of the fields: an .npz file `values` with arrays [N, ...] by name.

    A field that the file does not have is not given.
    """

    values: pathlib.Path | None = None
    num_samples: int = 8


def conditioned(system: "System", request: Conditioned) -> SampleFn:
    """`num_samples` samples for each row of the file.

    Errors: ValueError for a model without conditions, a file that cannot be read, and arrays that are not values of its
    fields.
    """
    known = {c.name: (c.shape or (), c.num_values) for c in conditions(system.config)}
    if system.num_labels:
        known["label"] = ((), system.num_labels)
    if not known:
        raise ValueError(
            "--task=conditioned needs a model with conditions, which this one is not; train one with "
            "--config.model.conditions."
        )
    if request.values is None:
        raise ValueError(f"--task=conditioned needs --request.values=FILE.npz, with any of {', '.join(known)}.")
    values = _read(request.values)
    for name, array in values.items():
        _check(request.values, name, array, known)
    lengths = {len(array) for array in values.values()}
    if len(lengths) != 1:
        raise ValueError(f"{request.values} has arrays of {sorted(lengths)} rows; give some of one length.")
    asked = {name: np.repeat(array, request.num_samples, axis=0) for name, array in values.items()}
    return functools.partial(generated, system, asked, lengths.pop() * request.num_samples, request.num_samples)


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file. Errors: ValueError for any other file."""
    try:
        return read_npz(path)
    except UnreadableError as error:
        raise ValueError(f"--request.values={path} is not an .npz file of arrays ({error}).") from error


def _check(path: pathlib.Path, name: str, array: np.ndarray, known: Mapping[str, tuple[tuple[int, ...], int]]) -> None:
    """Errors: ValueError for an array that does not have the shape and values of a field of the model."""
    if name not in known:
        raise ValueError(f"{path} has {name!r}, but the model is conditioned on {', '.join(known)}; leave it out.")
    shape, num_values = known[name]
    wanted = f"integers from 0 to {num_values - 1}" if num_values else "finite numbers"
    if num_values:
        fits = array.dtype.kind in "iub" and array.size > 0 and int(array.min()) >= 0 and int(array.max()) < num_values
    else:
        fits = array.dtype.kind in "fiub" and array.size > 0 and bool(np.isfinite(array).all())
    if array.shape[1:] != shape or not fits:
        raise ValueError(
            f"{path} has {array.dtype} {array.shape} as {name!r}, but it is {wanted} of shape "
            f"({', '.join(('N', *map(str, shape)))}); give these."
        )

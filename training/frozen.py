"""Networks of earlier stages: a run keeps their weights in files of its own, so that it does not need their runs.

`WORKDIR/frozen/NAME.msgpack` has the variables, and `NAME.json` what is known of them: the SHA-256 of that file, the
config and the data of the run that trained them, its workdir and checkpoint. Every checkpoint notes the same.
"""

import hashlib
import pathlib
from typing import Any

import flax.serialization
import jax
import numpy as np

from core.errors import RunError
from core.files import read_json, write_atomically, write_json
from core.reading import UnreadableError, read_bytes
from interop.formats import flax_msgpack
from training.objectives.base import Variables

_REMEDY = "restore those weights, or start a new run in another --workdir."
FOLDER = "frozen"  # below the workdir
FROZEN = "frozen"  # the collection of their variables, and their name in the notes of a checkpoint


class FrozenPartError(RunError):
    """The weights of an earlier stage are missing, or are others than those that a checkpoint was trained with."""


def keep(workdir: pathlib.Path, name: str, variables: Variables, about: dict[str, Any]) -> None:
    """Writes the variables of `name` and what is known of them; each file is complete or absent."""
    content = to_bytes(variables)
    weights, known = files(workdir, name)
    write_atomically(weights, lambda file: file.write(content))
    write_json(known, {**about, "sha256": sha256(content)})


def about(workdir: pathlib.Path, name: str) -> dict[str, Any]:
    """What is known of the weights of `name`, as JSON. Errors: FrozenPartError where they are missing."""
    try:
        return read_json(files(workdir, name)[1])
    except (OSError, ValueError) as error:
        raise _missing(workdir, name) from error


def read(workdir: pathlib.Path, name: str, expected: str) -> Variables:
    """The variables of `name`, as NumPy arrays.

    `expected`: their SHA-256. Errors: FrozenPartError where the file is missing or has another one.
    """
    try:
        content = read_bytes(_weights(workdir, name))
    except UnreadableError as error:
        raise _missing(workdir, name) from error
    if sha256(content) != expected:
        raise other_weights(name, f"{_weights(workdir, name)} has", expected, sha256(content))
    try:
        return flax_msgpack.restore(content)
    except UnreadableError as error:
        raise FrozenPartError(f"{_weights(workdir, name)} is damaged ({error}); {_REMEDY}") from error


def files(workdir: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path]:
    """The files of `name`: its weights, and what is known of them."""
    weights = _weights(workdir, name)
    return weights, weights.with_suffix(".json")


def other_weights(name: str, where: str, expected: str, found: str) -> FrozenPartError:
    """The error for the weights of `name` that are not those of a checkpoint; `where`: "... has"."""
    return FrozenPartError(
        f"The frozen part {name!r} was trained with the weights of SHA-256 {expected[:12]}, but {where} {found[:12]}; "
        f"{_REMEDY}"
    )


def to_bytes(variables: Variables) -> bytes:
    """Variables in Flax's msgpack format, with sorted names, so that equal variables are equal bytes."""
    return flax.serialization.msgpack_serialize(jax.tree.map(np.asarray, variables))


def sha256(content: bytes) -> str:
    """The SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _weights(workdir: pathlib.Path, name: str) -> pathlib.Path:
    return workdir / FOLDER / f"{name}.msgpack"


def _missing(workdir: pathlib.Path, name: str) -> FrozenPartError:
    return FrozenPartError(
        f"The frozen part {name!r} of the run in {workdir} is missing or damaged ({_weights(workdir, name)} and the "
        ".json beside it); restore both from a copy of that folder."
    )

"""Reference statistics: mean and covariance of a data set's features, in a file that records their provenance."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from core.array_files import read_npz
from core.files import write_arrays
from core.reading import UnreadableError, reading
from evaluation.metrics.moments import Moments

LONGEST = 200  # characters of a value in an error


class Statistics(NamedTuple):
    """Mean mu [D] and covariance sigma [D, D] in double precision, the number of examples, and the provenance.

    num: None if unknown, as in files of other programs. provenance: JSON values by name, which `load` compares.
    """

    mu: np.ndarray
    sigma: np.ndarray
    num: int | None
    provenance: dict[str, Any]


def statistics(moments: Moments, provenance: Mapping[str, Any] | None = None) -> Statistics:
    """The statistics of the examples in `moments`; raises ValueError for fewer than two."""
    return Statistics(moments.mean, moments.covariance, moments.num, dict(provenance or {}))


def save(path: str | os.PathLike, given: Statistics) -> None:
    """Writes `mu`, `sigma`, `num` and `provenance` (JSON) to an `.npz` file, completely or not at all.

    Common evaluators use the same names and can read the file.
    """
    arrays = {
        "mu": given.mu,
        "sigma": given.sigma,
        "provenance": np.array(json.dumps(given.provenance, sort_keys=True)),
    }
    if given.num is not None:
        arrays["num"] = np.array(given.num)
    write_arrays(path, arrays)


def load(path: str | os.PathLike, expected: Mapping[str, Any] | None = None) -> Statistics:
    """Reads statistics; those of another provenance are rejected.

    expected: entries that the provenance must have, such as {"features": ..., "features_hash": ..., "image_size": 32}.
    A file without provenance, as other programs write it, is read with a warning in the log. Errors: ValueError, one
    sentence that starts with the path and names the entry that differs, with both values.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is not a file; make the statistics with --mode=stats.")
    try:
        with reading():
            found = read_npz(path)
            mu, sigma = (np.asarray(found[name], np.float64) for name in ("mu", "sigma"))
            num = int(found["num"]) if "num" in found else None
            provenance = dict(json.loads(str(found["provenance"]))) if "provenance" in found else {}
    except UnreadableError as error:
        raise ValueError(f"{path} cannot be read as statistics, an .npz with mu and sigma ({error}).") from error
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)) or not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise ValueError(f"{path} has mu {mu.shape} and sigma {sigma.shape}; they must be finite [D] and [D, D].")
    _check(path, provenance, expected or {})
    return Statistics(mu, sigma, num, provenance)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _check(path: pathlib.Path, provenance: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises ValueError at the first entry of `expected` that `provenance` does not have."""
    if expected and not provenance:
        logging.warning("%s has no provenance: %s cannot be checked", path, ", ".join(expected))
        return
    for name, value in expected.items():
        wanted = json.loads(json.dumps(value))  # tuples are lists in the file
        if name not in provenance:
            raise ValueError(f"{path} does not record its {name}, which is {wanted!r} here; make it again.")
        if provenance[name] != wanted:
            raise ValueError(
                f"{path} was made with {name} = {_shown(provenance[name])}, but here it is {wanted!r}; give the "
                "statistics that match, or make them with --mode=stats."
            )

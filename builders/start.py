"""Where the samples of a config start: at the prior, at training examples with noise, or at their Gaussian."""

import dataclasses
import hashlib
import logging
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders import data
from builders.guidance import Asked
from builders.process import make_sde
from builders.sampler import from_time, make_sampler
from core.array_files import read_npz
from core.arrays import Array
from core.files import write_arrays
from core.keys import RunKey, StartKey, draw_normal, fold_in
from core.reading import UnreadableError
from core.tables import choose
from data.source import Source
from sampling.inverse.classical import principal_components
from sampling.noised import time_of_noise
from sampling.starts.gaussian import GaussianData
from sampling.starts.noised_data import NoisedData, noised
from sampling.starts.optimal_transport import (
    EXCLUDED,
    MAX_MEASURED,
    MEASURED,
    Cells,
    OptimalTransport,
    centers,
    fit,
)
from sde.base import SDE

FOLDER = "starts"  # of the workdir, with a file for each map
NUM_ASKED = 1000  # samples of the prior for which singular pairs are counted
FROM_DATA = {"noised_data": NoisedData, "optimal_transport": OptimalTransport, "gaussian": GaussianData}
STARTS = {"prior": None, **FROM_DATA}
NUM_COMPONENTS = 128  # of the Gaussian; the variance of the others is spread evenly
Place = NoisedData | OptimalTransport | GaussianData


@dataclasses.dataclass(frozen=True)
class Start:
    """The time t at which samples start, and what says where, an argument of the compiled sampler."""

    sde: SDE
    t: float
    place: Place

    def x(self, place: Place, keys: Array, shape: Sequence[int], asked: Asked) -> Array:
        """x [B, ...] at time t, of the classes that are asked for."""
        labels = asked.get("label") if isinstance(asked, Mapping) else asked
        return place(self.sde, keys, shape, labels)


def check(config: ConfigDict) -> None:
    """Errors: ValueError for a start that does not exist, or that the model cannot start from."""
    name = config.sampling.start
    if choose("sampling.start", name, STARTS) is None:
        return
    why = None
    if config.model.conditions:
        why = f"the network is conditioned on {', '.join(config.model.conditions)}, which other examples do not have"
    elif config.training.coupling != "independent":
        why = f"with config.training.coupling = {config.training.coupling!r} noise depends on the example"
    elif config.model.stages or config.tokenizer.external:
        why = "the model is one of codes"
    if why:
        raise ValueError(
            f"config.sampling.start = {name!r} starts at training examples with any noise, but {why}; use 'prior'."
        )
    from_time(config, make_sampler(config), time_of_noise(make_sde(config), config.sampling.start_noise))


def make_start(
    config: ConfigDict, train: Source, key: Array, num_labels: int, folder: pathlib.Path | None
) -> Start | None:
    """The start that `config.sampling` describes; None for the prior.

    train: the training examples. key: that of the run. num_labels: the classes that samples can be asked for. folder:
    where the map of optimal transport is kept, to be used again; None: nowhere.
    Errors: ValueError for a class without examples.
    """
    sampling = config.sampling
    if sampling.start not in FROM_DATA:
        return None
    sde = make_sde(config)
    t = time_of_noise(sde, sampling.start_noise)
    num = min(sampling.start_targets or len(train), len(train))
    examples = train.fetch(np.arange(num) * len(train) // num)
    labels = np.asarray(examples["label"], np.int32) if num_labels else np.zeros(num, np.int32)
    _check_classes(labels, num_labels, 2 if sampling.start == "gaussian" else 1)
    x = data.to_model(config, train.num_levels)(jnp.asarray(examples["x"]))
    if sampling.start == "gaussian":
        classes = [labels == label for label in range(num_labels)]
        flat = np.asarray(x).reshape(num, -1)
        priors = [principal_components(flat[of], NUM_COMPONENTS) for of in (labels >= 0, *classes)]
        return Start(sde, t, GaussianData.of(t, priors))
    own = fold_in(key, RunKey.START)
    targets = noised(sde, t, x.astype(jnp.float32), fold_in(own, StartKey.NOISE))
    if sampling.start == "noised_data":
        return Start(sde, t, NoisedData(targets, jnp.asarray(labels)))
    y, steps = np.asarray(targets).reshape(num, -1), sampling.start_iterations
    cells = _known(folder, y, labels, steps) or _kept(folder, fold_in(own, StartKey.TRANSPORT), y, labels, steps)
    logging.info(
        "optimal transport onto %d training examples with noise of %g: the masses of cells differ from equal ones by "
        "%.3f in all; perfect ones would by %.3f, because they are measured with a finite number of samples",
        num, sampling.start_noise, cells.mass_error, cells.sampling_error,
    )  # fmt: skip
    place = OptimalTransport(targets, jnp.asarray(labels), jnp.asarray(cells.potential))
    return Start(sde, t, _extended(config, place, y, labels, own))


def _extended(
    config: ConfigDict, place: OptimalTransport, y: np.ndarray, labels: np.ndarray, key: Array
) -> OptimalTransport:
    """The continuous map, if the config asks for it. Errors: ValueError for more cells than there are."""
    num, angle = config.sampling.start_cells, config.sampling.start_angle
    if num == 1:
        return place
    if num > len(y):
        raise ValueError(
            f"config.sampling.start_cells = {num}, but there are {len(y)} training examples to start from; use at most "
            "as many."
        )
    found, potential = np.empty_like(y), np.asarray(place.potential)
    for label, rows, padded, is_target in _by_class(labels):
        h = np.where(is_target, potential[padded], EXCLUDED).astype(np.float32)
        size = min(MAX_MEASURED, MEASURED * len(padded))
        found[rows] = centers(
            fold_in(fold_in(key, StartKey.CENTERS), label), jnp.asarray(y[padded]), jnp.asarray(h), size
        )[: len(rows)]
    place = dataclasses.replace(place, centers=jnp.asarray(found), num_cells=num, largest_angle=math.radians(angle))
    z = draw_normal(fold_in(key, StartKey.SINGULAR), (NUM_ASKED, *place.targets.shape[1:]))
    share = float(place.singular(z, jnp.asarray(labels[np.arange(NUM_ASKED) % len(labels)])).mean())
    logging.info("%.3f of samples of the prior lie beside a singular pair, which is not mixed", share)
    return place


def _by_class(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Each class, its rows [n], as many as the largest class has [m], repeated, and which of those count [m]."""
    classes = np.unique(labels)
    size = max(int((labels == label).sum()) for label in classes)
    for label in classes:
        rows = np.flatnonzero(labels == label)
        yield int(label), rows, np.resize(rows, size), np.arange(size) < len(rows)


def _check_classes(labels: np.ndarray, num_labels: int, least: int) -> None:
    for label in range(num_labels):
        if (num := int((labels == label).sum())) < least:
            raise ValueError(
                f"class {label} has {num or 'none'} of the {len(labels)} training examples that samples start from, "
                f"and needs {least} or more; give more by config.sampling.start_targets."
            )


def _path(folder: pathlib.Path, y: np.ndarray, labels: np.ndarray, steps: int) -> pathlib.Path:
    """The file of a map, whose name depends on all that it is computed from."""
    content = hashlib.sha256(np.ascontiguousarray(y).tobytes() + labels.tobytes() + f"{y.shape} {steps}".encode())
    return folder / FOLDER / f"optimal_transport_{content.hexdigest()[:16]}.npz"


def _known(folder: pathlib.Path | None, y: np.ndarray, labels: np.ndarray, steps: int) -> Cells | None:
    """The map of an earlier command; None where there is none, or only a damaged file."""
    if folder is None or not (path := _path(folder, y, labels, steps)).exists():
        return None
    try:
        found = read_npz(path)
        potential, errors = found["potential"], found["errors"]
    except (UnreadableError, KeyError) as error:
        logging.warning("%s is not used, and computed again: %s", path, error)
        return None
    if potential.shape != (len(y),) or errors.shape != (2,) or not np.isfinite(potential).all():
        logging.warning("%s is not used, and computed again: it has other contents", path)
        return None
    return Cells(potential.astype(np.float32), float(errors[0]), float(errors[1]))


def _kept(folder: pathlib.Path | None, key: Array, y: np.ndarray, labels: np.ndarray, steps: int) -> Cells:
    """A new map, one for each class, and its file. On one device, so that it does not depend on their number."""
    potential, found = np.empty(len(y), np.float32), []
    with jax.default_device(jax.local_devices()[0]):
        for label, rows, padded, is_target in _by_class(labels):  # one compiled program for all classes
            found.append(fit(fold_in(key, label), jnp.asarray(y[padded]), is_target, num_steps=steps))
            potential[rows] = found[-1].potential[: len(rows)]
    errors = np.mean([[cells.mass_error, cells.sampling_error] for cells in found], axis=0)
    if folder is not None:
        write_arrays(_path(folder, y, labels, steps), {"potential": potential, "errors": errors})
    return Cells(potential, float(errors[0]), float(errors[1]))

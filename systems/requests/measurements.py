"""What the tasks of restoration are given: examples that are measured, or measurements in a file."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np

from builders import inverse
from core.arrays import Array
from core.keys import RestorationKey, keys_at, restoration_key
from data.readers.inputs import read_array, read_examples, read_mask
from data.readers.scans import has_dataset, is_hdf5, read_hdf5, read_kspace
from sampling.inverse.operators.base import LinearOperator, is_complex, observe, of_examples
from sampling.inverse.operators.weighted import Weighted, from_counts, photon_counts
from systems.requests.base import Input, images, input_of, to_levels, to_network, to_unit

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.diffusion import Diffusion

MASK = "mask"  # the dataset of an HDF5 file that says which lines of k-space were measured


@dataclasses.dataclass(frozen=True)
class Restoration(Input):
    """`num_samples` of each input. `measured`: the input is measurements, not examples to be measured."""

    num_samples: int = 8
    measured: bool = False


@dataclasses.dataclass(frozen=True)
class MaskedRestoration(Restoration):
    """`mask`: a file with what is known, which is neither black nor zero; by default that of the task."""

    mask: str | None = None


class Problem(NamedTuple):
    """Names; the examples [N, *shape] if known, else the given measurements y [N, ...]; and the mask."""

    names: list[str]
    truth: np.ndarray | None
    given: np.ndarray | None
    known: np.ndarray


class Measured(NamedTuple):
    """What was measured: `y` as it is kept, [N, ...]; `linear`, the same where y is linear in the data, else computed.

    `operator`, `seen`: that of the sampler, for x as the network sees them.
    """

    y: Array
    linear: Array
    operator: LinearOperator
    seen: Array


def known_of(system: "Diffusion", request: Restoration) -> np.ndarray:
    """The mask of what is known. Errors: ValueError for a file that cannot be used."""
    config, shape, entry = system.config, system.spec.shape, inverse.entry(system.config, request.task)
    if not isinstance(request, MaskedRestoration) or request.mask is None:
        found = _mask_of_input(request, shape) if entry.zero_centered else None
        return inverse.default_mask(config, request.task, shape) if found is None else found
    if entry.default_mask is None:
        raise ValueError(
            f"--mask={request.mask} was given, but config.restore.operator = {config.restore.operator!r} takes no "
            "mask; leave it out."
        )
    known = read_mask(pathlib.Path(request.mask), shape, config.data.resize, config.data.max_pixels)
    return np.fft.ifftshift(known, axes=tuple(range(known.ndim - 1))) if entry.zero_centered else known


def _mask_of_input(request: Restoration, shape: Sequence[int]) -> np.ndarray | None:
    """The lines that a file of k-space says were measured, in the order of `fftn`; None where it does not say.

    Errors: ValueError for a mask of another size.
    """
    if not request.measured or request.input is None or not is_hdf5(path := pathlib.Path(request.input)):
        return None
    if not has_dataset(path, MASK):
        return None
    lines = read_hdf5(path, MASK)
    if lines.shape != (shape[-2],):
        raise ValueError(
            f"{path} has a {MASK} of shape {lines.shape}, but images of {'x'.join(map(str, shape[:-1]))} have "
            f"{shape[-2]} lines; give --mask."
        )
    known = np.broadcast_to(lines != 0, shape[:-1])[..., None]
    return np.fft.ifftshift(known, axes=tuple(range(known.ndim - 1)))


def problem(system: "Diffusion", request: Restoration, operator: LinearOperator, known: np.ndarray) -> Problem:
    """The examples to measure, or with --measured the measurements themselves. Errors: ValueError."""
    photons = system.config.restore.photons
    check_counts(system, request, operator)
    if not request.measured:
        names, levels = images(system, request)
        return Problem(names, to_network(system, levels), None, known)
    path = pathlib.Path(input_of(request))
    if inverse.entry(system.config, request.task).as_data is None:
        shape, limit = operator.measurement_shape, system.config.data.max_pixels
        names, levels = read_examples(path, shape, system.spec.num_levels, max_pixels=limit)
        return Problem(names, None, to_network(system, levels), known)
    y = _numbers(path, operator, counts=request.task == "reconstruct" and photons > 0)
    return Problem([f"{path.stem} {i}" for i in range(len(y))], None, y, known)


def check_counts(system: "Diffusion", request: Restoration, operator: LinearOperator) -> None:
    """Errors: ValueError for counts of photons by an operator that measures complex numbers."""
    photons = system.config.restore.photons
    if photons and request.task == "reconstruct" and is_complex(operator):
        raise ValueError(
            f"config.restore.photons = {photons:g} counts photons along lines, but config.restore.operator = "
            f"{system.config.restore.operator!r} measures complex numbers; set it to 0."
        )


def measured(
    system: "Diffusion", request: Restoration, given: Problem, number: int, index: np.ndarray | None = None
) -> Measured:
    """Measures the examples, with the noise of the config, or takes what was measured.

    index: the numbers of the examples, which address their noise; by default 0 ... N - 1.
    """
    config, num_levels = system.config, system.spec.num_levels
    operator = inverse.operator(config, request.task, system.spec.shape, given.known[None])
    key = restoration_key(system.key, number, RestorationKey.MEASUREMENT)
    keys = keys_at(key, np.arange(len(given.names)) if index is None else index)
    is_data = inverse.entry(config, request.task).as_data is None
    if is_data:
        noise_std = config.restore.noise_std * inverse.width(config, num_levels)
        y = _observed(operator, keys, given, given.truth, noise_std)
        return Measured(y, y, operator, y)
    x = None if given.truth is None else values_of(system, given.truth)
    if request.task == "reconstruct" and config.restore.photons:
        return _counted(system, operator, keys, given, x)
    y = _observed(operator, keys, given, x, config.restore.noise_std)
    return Measured(y, y, operator, inverse.for_network(config, num_levels, operator, y))


def residuals(found: Measured, samples: np.ndarray, width: float) -> np.ndarray:
    """|A x - y| [N, ...] of samples x [N, S, ...], in the units of y; in deviations of the noise for counts.

    width: that of `builders.inverse.width`, or 1 where y is in the network's units.
    """
    N, S = samples.shape[:2]
    x, rows = jnp.asarray(samples.reshape(N * S, *samples.shape[2:])), np.repeat(np.arange(N), S)
    operator = of_examples(found.operator, rows)
    return np.abs(np.asarray(operator.measure(x) - found.seen[rows])).reshape(N, -1) / width


def values_of(system: "Diffusion", x: np.ndarray) -> np.ndarray:
    """Values in the network's range, mapped to [0, 1], or for data without levels to the units of the data."""
    return to_unit(system, x) if system.spec.num_levels else to_levels(system, x)


def _observed(operator: LinearOperator, keys: Array, given: Problem, x: np.ndarray | None, noise_std: float) -> Array:
    return jnp.asarray(given.given) if x is None else observe(operator, keys, jnp.asarray(x), noise_std)


def _counted(
    system: "Diffusion", operator: LinearOperator, keys: Array, given: Problem, x: np.ndarray | None
) -> Measured:
    """Counts of photons: their logarithms are sums along lines, with a noise that the sampler sees as white."""
    restore = system.config.restore
    nepers = Weighted(operator, jnp.full((1,) * (1 + len(operator.measurement_shape)), restore.attenuation))
    counts = jnp.asarray(given.given) if x is None else photon_counts(keys, nepers, jnp.asarray(x), restore.photons)
    white, y = from_counts(nepers, counts, restore.photons)
    seen = inverse.for_network(system.config, system.spec.num_levels, white, y)
    return Measured(counts, y / (white.weights * restore.attenuation), white, seen)


def _numbers(path: pathlib.Path, operator: LinearOperator, counts: bool) -> np.ndarray:
    """Measurements [N, ...] that are not data, in their units. Errors: ValueError for others, and negative counts."""
    shape, is_real = operator.measurement_shape, not is_complex(operator)
    kind, name, dtype = (np.floating, "float", np.float32) if is_real else (np.complexfloating, "complex", np.complex64)
    y = read_kspace(path) if is_hdf5(path) and not is_real else read_array(path)
    y = y[None] if y.ndim == len(shape) else y
    fits = np.issubdtype(y.dtype, kind) or (counts and np.issubdtype(y.dtype, np.integer))
    if y.shape[1:] != shape or not fits:
        raise ValueError(f"{path} holds {y.dtype} {y.shape}, but {name} [N, {', '.join(map(str, shape))}] is needed.")
    if not np.isfinite(y).all():
        raise ValueError(f"{path} has values that are not finite; replace them, or leave their example out.")
    if counts and y.min() < 0:
        raise ValueError(
            f"{path} has the count {y.min():g}, but counts of photons are not negative; for sums along lines, set "
            "config.restore.photons = 0."
        )
    return y.astype(dtype)

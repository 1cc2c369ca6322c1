"""What the task reconstruct measures, `restore.operator`: frequencies, coils, projections, or a user's own operator."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders.operator_entry import OperatorEntry, Shape
from core.imports import import_object, is_import_path
from core.tables import choose
from data.readers.inputs import read_array
from evaluation.metrics.restoration import Baseline, as_measured
from sampling.inverse.operators.base import LinearOperator, inner, is_complex, largest_singular_value
from sampling.inverse.operators.fourier import complex_fourier, fourier
from sampling.inverse.operators.patterns import PATTERNS
from sampling.inverse.operators.radon import radon
from sampling.inverse.operators.sense import sense, simulated_coils

SIMULATED = "simulated:"  # `restore.coil_maps` = "simulated:4"


def reconstruction(config: ConfigDict) -> OperatorEntry:
    """The row of `restore.operator`. Errors: ValueError for a name that is not known."""
    name = config.restore.operator
    return _own(name) if is_import_path(name) else choose("restore.operator", name, RECONSTRUCTIONS)


def known_frequencies(config: ConfigDict, shape: Shape) -> np.ndarray:
    """The mask [*sides, 1] of `restore.pattern`, in the order of `fftn`. Errors: ValueError."""
    restore = config.restore
    patterns = {"columns": lambda sides, kept, center, seed: columns(sides, kept)} | PATTERNS
    make: Callable[..., np.ndarray] = choose("restore.pattern", restore.pattern, patterns)
    return make(tuple(shape[:-1]), restore.kept, restore.center, 0)


def columns(sides: Shape, kept: float) -> np.ndarray:
    """The low frequencies of the last side, and each of its others with probability `kept`."""
    num = sides[-1]
    distance = np.abs(np.fft.fftfreq(num, 1 / num))
    others = np.random.default_rng(0).random(num) < kept
    known = np.zeros((*sides, 1), bool)
    known[..., (distance <= kept * num / 4) | others, :] = True
    return known


def coil_maps(config: ConfigDict, shape: Shape) -> np.ndarray:
    """The sensitivities [*sides, coils] of `restore.coil_maps`. Errors: ValueError where they cannot be used."""
    given = config.restore.coil_maps
    if not given:
        raise ValueError(
            "config.restore.operator = 'sense' needs the sensitivities of the coils; give an .npy file of complex "
            f"[{', '.join(map(str, shape[:-1]))}, coils] as --config.restore.coil_maps, or {SIMULATED}4 for four "
            "simulated coils."
        )
    if given.startswith(SIMULATED):
        number = given.removeprefix(SIMULATED)
        if not number.isdecimal() or not int(number):
            raise ValueError(f"config.restore.coil_maps = {given!r}, but {SIMULATED} is followed by a number of coils.")
        return simulated_coils(tuple(shape[:-1]), int(number))
    maps = read_array(pathlib.Path(given), "coil_maps")
    if not np.issubdtype(maps.dtype, np.complexfloating):
        raise ValueError(f"The coil maps {given} are {maps.dtype}, but complex sensitivities are expected.")
    return maps


def _own(path: str) -> OperatorEntry:
    """The row of a user's function `package.module:function`, from the shape of an example to an operator."""
    return OperatorEntry(
        lambda config, shape, known: _checked(
            path, import_object("config.restore.operator =", path, "function"), shape
        ),
        Baseline("scaled adjoint", as_measured),
        ranks=(1, 2, 3, 4),
        as_data=lambda operator, y: operator.adjoint(y) / largest_singular_value(operator)[0] ** 2,
    )


def _checked(path: str, make: Callable[[tuple[int, ...]], Any], shape: Shape) -> LinearOperator:
    """The operator that a user's function makes.

    Errors: ValueError for one that lacks a part, is no pytree, measures another shape, or has an adjoint that is none.
    """
    what = f"config.restore.operator = {path!r}"
    operator = make(tuple(shape))
    parts = ("shape", "measurement_shape", "measure", "adjoint")
    if missing := [part for part in parts if not hasattr(operator, part)]:
        raise ValueError(
            f"{what} makes a {type(operator).__name__} without {' and '.join(missing)}; an operator has "
            f"{', '.join(parts)}."
        )
    if any(leaf is operator for leaf in jax.tree.leaves(operator)):
        raise ValueError(
            f"{what} makes a {type(operator).__name__} that is not a pytree, as an argument of compiled functions must "
            "be; decorate the dataclass with jax.tree_util.register_dataclass."
        )
    if tuple(operator.shape) != tuple(shape):
        raise ValueError(f"{what} measures {tuple(operator.shape)}, but examples have the shape {tuple(shape)}.")
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(1, *shape)), jnp.float32)
    y = operator.measure(x)
    if y.shape != (1, *operator.measurement_shape):
        raise ValueError(f"{what} returns {y.shape} for one example, but says {(1, *operator.measurement_shape)}.")
    u = rng.normal(size=y.shape) + (1j * rng.normal(size=y.shape) if is_complex(operator) else 0)
    u = jnp.asarray(u, y.dtype)
    left, right, size = (float(v[0]) for v in (inner(y, u), inner(x, operator.adjoint(u)), inner(y, y) * inner(u, u)))
    if not abs(left - right) <= 1e-3 * size**0.5:
        raise ValueError(
            f"{what} has an `adjoint` that is not that of `measure`: <A x, y> = {left:g}, but <x, A^T y> = {right:g} "
            "for a random x and y; correct it."
        )
    return operator


ZERO_FILLED = Baseline("zeros where nothing is known", as_measured)
RECONSTRUCTIONS: dict[str, OperatorEntry] = {
    "fourier": OperatorEntry(
        lambda config, shape, known: fourier(shape, known),
        ZERO_FILLED,
        default_mask=known_frequencies,
        zero_centered=True,
        as_data=lambda operator, y: operator.pseudo_inverse(y),
    ),
    "complex_fourier": OperatorEntry(
        lambda config, shape, known: complex_fourier(shape, known),
        ZERO_FILLED,
        default_mask=known_frequencies,
        zero_centered=True,
        as_data=lambda operator, y: operator.pseudo_inverse(y),
    ),
    "sense": OperatorEntry(
        lambda config, shape, known: sense(shape, coil_maps(config, shape), known),
        ZERO_FILLED,
        default_mask=known_frequencies,
        zero_centered=True,
        as_data=lambda operator, y: operator.combine(y),
    ),
    "radon": OperatorEntry(
        lambda config, shape, known: radon(shape, config.restore.num_views),
        Baseline("filtered back projection", as_measured),
        ranks=(3, 4),
        as_data=lambda operator, y: operator.filtered_back_projection(y),
    ),
}

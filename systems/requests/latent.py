"""Latent codes by the probability-flow ODE: the tasks encode, decode and interpolate of the program sample."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from builders.guidance import GuidedPredictOf
from core.arrays import Array
from data.readers.inputs import read_array
from sampling import latent
from sampling.ode import ProbabilityFlow
from sde.base import SDE
from systems.requests.base import (
    Input,
    LabelsOf,
    SampleFn,
    SampleResult,
    batch_size,
    images,
    in_batches,
    input_of,
    to_levels,
    to_network,
    without_labels,
)
from systems.requests.generate import check_labels
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.diffusion import Diffusion


@dataclasses.dataclass(frozen=True)
class Decoding(Input):
    """Latent codes, and the temperature by which they are scaled."""

    temperature: float = 1.0


@dataclasses.dataclass(frozen=True)
class Interpolation(Decoding):
    """`num_samples`: images from each image to the next."""

    num_samples: int = 8


class Target(NamedTuple):
    """Another model than that of the system, for which an ODE is solved: its predictions and its SDE."""

    predict_of: GuidedPredictOf
    sde: SDE


def encoding(system: "Diffusion", request: Input) -> SampleFn:
    """The latent codes of images, and their round-trip error. Errors: ValueError for input that does not fit."""
    flow_of(system, request)
    check_labels(system, request.labels)
    names, levels = images(system, request)
    return functools.partial(_encoded, system, request, names, to_network(system, levels))


def _encoded(
    system: "Diffusion", request: Input, names: list[str], x: np.ndarray, variables: Variables, number: int
) -> SampleResult:
    encoded = solve(system, flow_of(system, request), latent.encode, variables, x, request.labels_of)
    decoded = solve(system, flow_of(system, request), latent.decode, variables, encoded["x"], request.labels_of)
    error = np.asarray(latent.round_trip_error(jnp.asarray(x), jnp.asarray(decoded["x"])))
    shown = to_levels(system, decoded["x"])
    cells = np.stack([to_levels(system, x), shown], axis=1).reshape(-1, *system.spec.shape)
    figures = {
        "names": names,
        "round_trip_error": error,
        "round_trip_error_over_images": float(error.mean()),
        "num_evals": encoded["num_evals"],
        "num_evals_back": decoded["num_evals"],
    }
    return SampleResult(system.picture(cells, 2), {"latents": encoded["x"], "decoded": decoded["x"]}, figures, shown)


def decoding(system: "Diffusion", request: Decoding) -> SampleFn:
    """The images of latent codes at a temperature. Errors: ValueError for input that does not fit."""
    flow_of(system, request)
    check_labels(system, request.labels)
    path = pathlib.Path(input_of(request))
    codes = read_array(path, "latents")
    if codes.shape[1:] != system.spec.shape:
        raise ValueError(
            f"{path} holds latent codes {codes.shape}, but [N, {', '.join(map(str, system.spec.shape))}] are needed."
        )
    return functools.partial(_decoded, system, request, codes.astype(np.float32))


def _decoded(
    system: "Diffusion", request: Decoding, codes: np.ndarray, variables: Variables, number: int
) -> SampleResult:
    tempered = np.asarray(latent.temper(jnp.asarray(codes), request.temperature))
    decoded = solve(system, flow_of(system, request), latent.decode, variables, tempered, request.labels_of)
    levels = to_levels(system, decoded["x"])
    return SampleResult(
        system.picture(levels),
        {"arr_0": levels},
        {"num_samples": len(levels), "num_evals": decoded["num_evals"]},
        levels,
    )


def interpolation(system: "Diffusion", request: Interpolation) -> SampleFn:
    """Images between consecutive images of the input. Errors: ValueError for input that does not fit."""
    flow_of(system, request)
    check_labels(system, request.labels)
    names, levels = images(system, request)
    if len(names) < 2:
        raise ValueError(
            f"--task=interpolate connects consecutive images, but {input_of(request)} has one; give at least two."
        )
    return functools.partial(_interpolated, system, request, names, to_network(system, levels))


def _interpolated(
    system: "Diffusion", request: Interpolation, names: list[str], x: np.ndarray, variables: Variables, number: int
) -> SampleResult:
    """`num_samples` images from each image to the next, both included."""
    frames = max(request.num_samples, 2)
    encoded = solve(system, flow_of(system, request), latent.encode, variables, x, request.labels_of)
    codes = latent.interpolate(jnp.asarray(encoded["x"][:-1]), jnp.asarray(encoded["x"][1:]), frames)
    codes = latent.temper(jnp.moveaxis(codes, 0, 1).reshape(-1, *system.spec.shape), request.temperature)
    decoded = solve(system, flow_of(system, request), latent.decode, variables, np.asarray(codes), request.labels_of)
    levels = to_levels(system, decoded["x"])
    figures = {"names": names, "num_evals": encoded["num_evals"], "num_evals_back": decoded["num_evals"]}
    arrays = {"arr_0": levels, "latents": np.asarray(codes)}
    return SampleResult(system.picture(levels, frames), arrays, figures, levels)


def solve(
    system: "Diffusion",
    flow: ProbabilityFlow,
    direction: Callable[..., Any],
    variables: Variables,
    x: np.ndarray,
    labels_of: LabelsOf = without_labels,
    target: Target | None = None,
) -> dict[str, Any]:
    """`latent.encode` or `latent.decode` of x [N, ...], by `target` if there is one: "x" and "num_evals"."""
    sde = target.sde if target else system.sde
    predict_of = target.predict_of if target else system.guide.predict_of

    @jax.jit
    def compiled(params: Any, guide: Any, x: Array, labels: Array | None) -> dict[str, Array]:
        return direction(predict_of(params, guide, labels), sde, x, eps=flow.eps, **flow.settings)._asdict()

    return in_batches(
        lambda rows: compiled(
            variables["params"],
            None if target else system.guide.params,
            *system.devices.shard_rows((jnp.asarray(x[rows]), labels_of(rows))),
        ),
        len(x),
        batch_size(system, len(x)),
        "solving the ODE",
    )


def flow_of(system: "Diffusion", request: Input) -> ProbabilityFlow:
    """The sampler, which has to be the ODE: no other is a bijection. Errors: ValueError."""
    if not isinstance(system.sampler, ProbabilityFlow):
        raise ValueError(
            f"--task={request.task} solves the probability-flow ODE in both directions, but config.sampling.method = "
            f"{system.config.sampling.method!r} cannot be inverted; add --config.sampling.method=ode."
        )
    return system.sampler

"""Images through latent codes: the tasks encode, decode and interpolate of the program sample."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from data import files
from programs.experiment import Experiment
from programs.tasks.base import (
    Request,
    SampleFn,
    SampleResult,
    batch_size,
    images,
    in_batches,
    input_of,
    labels_of,
    to_data,
    to_levels,
)
from sampling import latent
from sampling.ode import ProbabilityFlow


def encoding(run: Experiment, request: Request) -> SampleFn:
    """The codes of images, and how well they are decoded again. Errors: ValueError for what does not fit."""
    _flow(run, request)
    names, levels = images(run, request)
    return functools.partial(_encoded, run, request, names, to_data(run, levels))


def _encoded(
    run: Experiment, request: Request, names: list[str], x: np.ndarray, params: Any, number: int
) -> SampleResult:
    there = _carried(run, request, latent.encode, params, x)
    back = _carried(run, request, latent.decode, params, there["x"])
    error = np.asarray(latent.round_trip_error(jnp.asarray(x), jnp.asarray(back["x"])))
    cells = np.stack([to_levels(run, x), to_levels(run, back["x"])], axis=1).reshape(-1, *run.test.shape)
    figures = {
        "names": names,
        "round_trip_error": error,
        "round_trip_error_over_images": float(error.mean()),
        "num_evals": there["num_evals"],
        "num_evals_back": back["num_evals"],
    }
    return SampleResult(run.picture(cells, 2), {"latents": there["x"], "decoded": back["x"]}, figures)


def decoding(run: Experiment, request: Request) -> SampleFn:
    """The images of codes, their temperature changed. Errors: ValueError for what does not fit."""
    _flow(run, request)
    path = pathlib.Path(input_of(request))
    codes = files.read_array(path, "latents")
    if codes.shape[1:] != run.test.shape:
        raise ValueError(
            f"{path} holds codes {codes.shape}, but [N, {', '.join(map(str, run.test.shape))}] are needed."
        )
    return functools.partial(_decoded, run, request, codes.astype(np.float32))


def _decoded(run: Experiment, request: Request, codes: np.ndarray, params: Any, number: int) -> SampleResult:
    tempered = np.asarray(latent.temper(jnp.asarray(codes), request.temperature))
    found = _carried(run, request, latent.decode, params, tempered)
    levels = to_levels(run, found["x"])
    return SampleResult(
        run.picture(levels), {"arr_0": levels}, {"num_samples": len(levels), "num_evals": found["num_evals"]}
    )


def interpolation(run: Experiment, request: Request) -> SampleFn:
    """Images between neighbouring images of the input. Errors: ValueError for what does not fit."""
    _flow(run, request)
    names, levels = images(run, request)
    if len(names) < 2:
        raise ValueError(
            f"--task=interpolate joins neighbouring images, but {input_of(request)} has one; give at least two."
        )
    return functools.partial(_interpolated, run, request, names, to_data(run, levels))


def _interpolated(
    run: Experiment, request: Request, names: list[str], x: np.ndarray, params: Any, number: int
) -> SampleResult:
    """`num_samples` images between each image and the next, ends included."""
    frames = max(request.num_samples, 2)
    there = _carried(run, request, latent.encode, params, x)
    codes = latent.interpolate(jnp.asarray(there["x"][:-1]), jnp.asarray(there["x"][1:]), frames)
    codes = latent.temper(jnp.moveaxis(codes, 0, 1).reshape(-1, *run.test.shape), request.temperature)
    found = _carried(run, request, latent.decode, params, np.asarray(codes))
    levels = to_levels(run, found["x"])
    figures = {"names": names, "num_evals": there["num_evals"], "num_evals_back": found["num_evals"]}
    return SampleResult(run.picture(levels, frames), {"arr_0": levels, "latents": np.asarray(codes)}, figures)


def _carried(
    run: Experiment, request: Request, carry: Callable[..., Any], params: Any, x: np.ndarray
) -> dict[str, Any]:
    """`latent.encode` or `latent.decode` of x [N, ...], in batches."""
    flow = _flow(run, request)
    solver = {"eps": flow.eps, "rtol": flow.rtol, "atol": flow.atol}

    @jax.jit
    def compiled(params: Any, guide: Any, x: Array, labels: Array | None) -> dict[str, Array]:
        return carry(run.guide.score_of(params, guide, labels), run.sde, x, **solver)._asdict()

    return in_batches(
        lambda rows: compiled(params, run.guide.params, *run.spread((jnp.asarray(x[rows]), labels_of(request, rows)))),
        len(x),
        batch_size(run, len(x)),
    )


def _flow(run: Experiment, request: Request) -> ProbabilityFlow:
    """The sampler, if it is the ODE, which alone is a bijection; else a ValueError."""
    if not isinstance(run.sampler, ProbabilityFlow):
        raise ValueError(
            f"--task={request.task} follows the probability-flow ODE both ways, but config.sampling.method = "
            f"{run.config.sampling.method!r} cannot be inverted; add --config.sampling.method=ode."
        )
    return run.sampler

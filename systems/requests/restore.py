"""Inverse problems: the tasks inpaint, colorize, superresolve, deblur and reconstruct of the program sample."""

import dataclasses
import functools
import math
import pathlib
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from builders import inverse
from core.arrays import Array
from core.keys import RestorationKey, RunKey, draw_normal, fold_in, keys_at
from data.images import read_array, read_examples, read_mask
from data.shapes import check_images
from evaluation.metrics.restoration import BASELINES, psnr_db
from reports.sheets import grid
from sampling.inverse.operators.base import SpectralOperator
from systems.requests.base import (
    Input,
    SampleFn,
    SampleResult,
    batch_size,
    images,
    in_batches,
    input_of,
    to_network,
    to_unit,
)
from systems.requests.generate import check_labels

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.diffusion import Diffusion

NUM_FOR_VARIANCE = 512  # training images from which the variance of the data is estimated
SHOWN = 8  # samples of an input in the grid


@dataclasses.dataclass(frozen=True)
class Restoration(Input):
    """`num_samples` of each input. `measured`: the input is measurements, not images to be measured."""

    num_samples: int = 8
    measured: bool = False


@dataclasses.dataclass(frozen=True)
class MaskedRestoration(Restoration):
    """`mask`: a file with what is known, which is neither black nor zero; by default that of the task."""

    mask: str | None = None


class Problem(NamedTuple):
    """Names; the images [N, H, W, C] if known, else the given measurements y [N, ...]; and the mask."""

    names: list[str]
    truth: np.ndarray | None
    given: np.ndarray | None
    known: np.ndarray


def restoration(system: "Diffusion", request: Restoration) -> SampleFn:
    """Samples conditioned on a measurement of each image. Errors: ValueError for input that does not fit."""
    check_labels(system, request.labels)
    task, shape = request.task, system.spec.shape
    check_images(shape, f"--task={task}", "use unconditional, class, interpolate, encode or decode")
    if isinstance(request, MaskedRestoration) and request.mask is not None:
        known = read_mask(pathlib.Path(request.mask), shape)
        known = np.fft.ifftshift(known, axes=(0, 1)) if task == "reconstruct" else known
    else:
        known = inverse.default_mask(system.config, task, shape)
    operator = inverse.operator(system.config, task, shape, known[None])
    sampler = inverse.posterior_sampler(system.config, system.sde, system.sampler, _variance(system), shape)
    problem = _problem(system, request, operator, known)
    return functools.partial(_restored, system, request, problem, sampler)


def _problem(system: "Diffusion", request: Restoration, operator: SpectralOperator, known: np.ndarray) -> Problem:
    """The images to measure, or with --measured the measurements themselves."""
    if not request.measured:
        names, levels = images(system, request)
        return Problem(names, to_network(system, levels), None, known)
    path = pathlib.Path(input_of(request))
    shape = operator.measurement_shape
    if request.task == "reconstruct":
        y = read_array(path)
        y = y[None] if y.ndim == len(shape) else y
        if y.shape[1:] != shape or not np.issubdtype(y.dtype, np.complexfloating):
            raise ValueError(
                f"{path} holds {y.dtype} {y.shape}, but complex [N, {', '.join(map(str, shape))}] is needed."
            )
        return Problem([f"{path.stem} {i}" for i in range(len(y))], None, y.astype(np.complex64), known)
    names, levels = read_examples(path, shape, system.spec.num_levels)
    return Problem(names, None, to_network(system, levels), known)


def _restored(
    system: "Diffusion",
    request: Restoration,
    problem: Problem,
    sampler: inverse.PosteriorSampler,
    params: Any,
    number: int,
) -> SampleResult:
    """Several samples of each image, conditioned on its measurement."""
    config, task, S, N = system.config, request.task, request.num_samples, len(problem.names)
    unit = 2.0 if config.data.centered else 1.0
    key = fold_in(fold_in(system.key, RunKey.RESTORE), number)
    operator = inverse.operator(config, task, system.spec.shape, problem.known[None])
    if problem.truth is None:
        y = jnp.asarray(problem.given)
    else:
        z = draw_normal(keys_at(fold_in(key, RestorationKey.MEASUREMENT), np.arange(N)), problem.truth.shape)
        y = operator.observe(z, jnp.asarray(problem.truth), config.restore.noise_std * unit)

    @jax.jit
    def compiled(
        params: Any, guide: Any, keys: Array, labels: Array | None, operator: SpectralOperator, y: Array
    ) -> dict:
        found = sampler(keys, system.guide.score_of(params, guide, labels), operator, y)
        return {"samples": found.x, "num_evals": found.num_evals}

    def generate(rows: np.ndarray) -> dict[str, Array]:
        keys = jax.vmap(jax.random.fold_in)(keys_at(fold_in(key, RestorationKey.POSTERIOR), rows // S), rows % S)
        keys, labels, given = system.devices.shard_rows((keys, request.labels_of(rows // S), y[rows // S]))
        return compiled(params, system.guide.params, keys, labels, operator, given)

    found = in_batches(generate, N * S, batch_size(system, N * S))
    samples = found["samples"].reshape(N, S, *system.spec.shape)
    return _assessed(system, request, problem, operator, np.asarray(y), samples, found["num_evals"])


def _assessed(
    system: "Diffusion",
    request: Restoration,
    problem: Problem,
    operator: SpectralOperator,
    y: np.ndarray,
    samples: np.ndarray,
    num_evals: Any,
) -> SampleResult:
    """The grid (input, measurement, samples, mean, standard deviation), the arrays, and their quality."""
    N, S = samples.shape[:2]
    values = to_unit(system, samples)
    mean, deviation = values.mean(1), values.std(1)
    residual = np.asarray(operator.measure(jnp.asarray(samples.reshape(N * S, *samples.shape[2:])))) - np.repeat(
        y, S, 0
    )
    figures: dict[str, Any] = {"num_images": N, "num_samples": S, "num_evals": num_evals}
    figures["residual_rms"] = float(np.sqrt(np.mean(np.abs(residual) ** 2)))
    shown = _as_image(system, request.task, operator, y)
    arrays = {"samples": samples, "mean": mean, "deviation": deviation, "measurement": y}
    if problem.truth is not None:
        truth = to_unit(system, problem.truth)
        name, baseline = BASELINES[request.task]
        without = baseline(to_unit(system, shown), problem.known[None], system.spec.shape)
        figures["psnr_mean_db"] = psnr_db(mean, truth)
        figures["psnr_samples_db"] = (
            psnr_db(values.reshape(-1, *mean.shape[1:]), truth.repeat(S, 0)).reshape(N, S).mean(1)
        )
        figures[f"psnr_{name.replace(' ', '_')}_db"] = psnr_db(without, truth)
        figures = figures | {f"{k}_over_images": float(np.mean(v)) for k, v in figures.items() if k.startswith("psnr")}
        arrays["input"] = truth
    figures["names"] = problem.names
    first = to_unit(system, problem.truth) if problem.truth is not None else None
    return SampleResult(_table(system, first, to_unit(system, shown), values, mean, deviation), arrays, figures)


def _as_image(system: "Diffusion", task: str, operator: SpectralOperator, y: np.ndarray) -> np.ndarray:
    """A measurement as an image in the network's range: itself if it is one, else the pseudo-inverse A^+ y."""
    if task == "reconstruct":
        return np.asarray(operator.pseudo_inverse(jnp.asarray(y)))
    return y


def _table(
    system: "Diffusion",
    truth: np.ndarray | None,
    seen: np.ndarray,
    samples: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
) -> np.ndarray:
    """A row per image: input, measurement, samples, mean, standard deviation (white: the largest of all)."""
    H, W, C = system.spec.shape
    enlarged = seen.repeat(H // seen.shape[1], axis=1).repeat(W // seen.shape[2], axis=2)
    shown = np.broadcast_to(enlarged, (len(seen), H, W, C))
    columns = ([] if truth is None else [truth]) + [shown, *np.moveaxis(samples[:, :SHOWN], 1, 0), mean]
    columns.append(deviation / max(float(deviation.max()), 1e-12))
    cells = np.stack(columns, axis=1).reshape(-1, H, W, C)
    return grid(np.round(255 * np.clip(cells, 0, 1)).astype(np.uint8), len(columns), scale=max(1, 64 // H))


def _variance(system: "Diffusion") -> float:
    """Variance of the data in the network's range, over a fixed part of the training split, where it is used."""
    if system.config.restore.prior_variance is not None:
        return math.nan  # the setting is used instead
    try:
        source = system.context.splits.train
    except FileNotFoundError as error:
        raise ValueError(
            f"config.restore.prior_variance is not set, so the variance of the training images is needed, but {error}; "
            "set it to their variance in [0, 1]."
        ) from error
    return float(to_network(system, source.fetch(np.arange(min(NUM_FOR_VARIANCE, len(source))))["x"]).var())

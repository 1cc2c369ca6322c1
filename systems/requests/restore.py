"""Inverse problems: the tasks inpaint, colorize, superresolve, deblur and reconstruct of the program sample."""

import dataclasses
import functools
import pathlib
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from builders import inverse
from core.arrays import Array
from core.keys import RestorationKey, RunKey, fold_in, keys_at
from data.readers.inputs import read_array, read_examples, read_mask
from data.spec import DataSpec
from evaluation.metrics.base import Ensembles, Pairs
from evaluation.metrics.intervals import interval
from evaluation.metrics.psnr import psnr_db
from evaluation.metrics.table import measure
from reports.sheets import sample_grid, with_headings
from sampling.inverse.operators.base import LinearOperator, is_complex, observe
from sampling.observation_guidance import quantile_levels
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
    to_unit,
    without_labels,
)
from systems.requests.generate import check_labels
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.diffusion import Diffusion

NUM_FOR_VARIANCE = 512  # training examples from which the variance of the data is estimated
SHOWN = 8  # samples of an input in the grid


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


def restoration(system: "Diffusion", request: Restoration) -> SampleFn:
    """Samples conditioned on a measurement of each example. Errors: ValueError for input that does not fit."""
    check_labels(system, request.labels)
    config, task, shape = system.config, request.task, system.spec.shape
    inverse.check_rank(config, task, shape)
    known = _known(system, request)
    operator = inverse.operator(config, task, shape, known[None])
    sampler = inverse.posterior_sampler(
        config, system.sde, system.sampler, _variance(system), inverse.width(config, system.spec.num_levels)
    )
    problem = _problem(system, request, operator, known)
    return functools.partial(_restored, system, request, problem, sampler)


def _known(system: "Diffusion", request: Restoration) -> np.ndarray:
    """The mask of what is known. Errors: ValueError for a file that cannot be used."""
    config, shape, entry = system.config, system.spec.shape, inverse.entry(system.config, request.task)
    if not isinstance(request, MaskedRestoration) or request.mask is None:
        return inverse.default_mask(config, request.task, shape)
    if entry.default_mask is None:
        raise ValueError(
            f"--mask={request.mask} was given, but config.restore.operator = {config.restore.operator!r} takes no "
            "mask; leave it out."
        )
    known = read_mask(pathlib.Path(request.mask), shape, config.data.resize, config.data.max_pixels)
    return np.fft.ifftshift(known, axes=tuple(range(known.ndim - 1))) if entry.zero_centered else known


def _problem(system: "Diffusion", request: Restoration, operator: LinearOperator, known: np.ndarray) -> Problem:
    """The examples to measure, or with --measured the measurements themselves."""
    if not request.measured:
        names, levels = images(system, request)
        return Problem(names, to_network(system, levels), None, known)
    path = pathlib.Path(input_of(request))
    if inverse.entry(system.config, request.task).as_data is None:
        shape, limit = operator.measurement_shape, system.config.data.max_pixels
        names, levels = read_examples(path, shape, system.spec.num_levels, max_pixels=limit)
        return Problem(names, None, to_network(system, levels), known)
    y = _numbers(path, operator)
    return Problem([f"{path.stem} {i}" for i in range(len(y))], None, y, known)


def _numbers(path: pathlib.Path, operator: LinearOperator) -> np.ndarray:
    """Measurements [N, ...] that are not data, in their units. Errors: ValueError for another shape or type."""
    shape, is_real = operator.measurement_shape, not is_complex(operator)
    kind, name, dtype = (np.floating, "float", np.float32) if is_real else (np.complexfloating, "complex", np.complex64)
    y = read_array(path)
    y = y[None] if y.ndim == len(shape) else y
    if y.shape[1:] != shape or not np.issubdtype(y.dtype, kind):
        raise ValueError(f"{path} holds {y.dtype} {y.shape}, but {name} [N, {', '.join(map(str, shape))}] is needed.")
    return y.astype(dtype)


def _restored(
    system: "Diffusion",
    request: Restoration,
    problem: Problem,
    sampler: inverse.PosteriorSampler,
    variables: Variables,
    number: int,
) -> SampleResult:
    """Several samples of each example, conditioned on its measurement."""
    config, num_levels = system.config, system.spec.num_levels
    operator = inverse.operator(config, request.task, system.spec.shape, problem.known[None])
    is_data = inverse.entry(config, request.task).as_data is None
    if problem.truth is None:
        y = jnp.asarray(problem.given)
    else:
        key = fold_in(fold_in(system.key, RunKey.RESTORE), number)
        keys = keys_at(fold_in(key, RestorationKey.MEASUREMENT), np.arange(len(problem.names)))
        noise_std = config.restore.noise_std * (inverse.width(config, num_levels) if is_data else 1.0)
        x = problem.truth if is_data else _values(system, problem.truth)
        y = observe(operator, keys, jnp.asarray(x), noise_std)
    seen = y if is_data else inverse.for_network(config, num_levels, operator, y)
    found = posterior_samples(
        system, sampler, operator, seen, request.num_samples, variables, number, request.labels_of
    )
    return _assessed(system, request, problem, operator, np.asarray(y), found["samples"], found["num_evals"])


def posterior_samples(
    system: "Diffusion",
    sampler: inverse.PosteriorSampler,
    operator: LinearOperator,
    y: Any,
    num: int,
    variables: Variables,
    number: int,
    labels_of: LabelsOf = without_labels,
) -> dict[str, Any]:
    """ "samples" [N, num, ...], as the network sees them, given each measurement y [N, ...], and "num_evals"."""
    key = fold_in(fold_in(fold_in(system.key, RunKey.RESTORE), number), RestorationKey.POSTERIOR)
    y, total = jnp.asarray(y), len(y) * num

    @jax.jit
    def compiled(
        params: Any, guide: Any, keys: Array, labels: Array | None, operator: Any, y: Array, levels: Array
    ) -> dict:
        found = sampler(keys, system.guide.predict_of(params, guide, labels), operator, y, levels)
        return {"samples": found.x, "num_evals": found.num_evals}

    def generate(rows: np.ndarray) -> dict[str, Array]:
        keys = jax.vmap(jax.random.fold_in)(keys_at(key, rows // num), rows % num)
        levels = quantile_levels(jnp.asarray(rows % num), num)
        keys, labels, given, levels = system.devices.shard_rows((keys, labels_of(rows // num), y[rows // num], levels))
        return compiled(variables["params"], system.guide.params, keys, labels, operator, given, levels)

    found = in_batches(generate, total, batch_size(system, total))
    return found | {"samples": found["samples"].reshape(len(y), num, *system.spec.shape)}


def _assessed(
    system: "Diffusion",
    request: Restoration,
    problem: Problem,
    operator: LinearOperator,
    y: np.ndarray,
    samples: np.ndarray,
    num_evals: Any,
) -> SampleResult:
    """The grid (input, measurement, samples, mean, standard deviation), the arrays, and their quality."""
    (N, S), entry = samples.shape[:2], inverse.entry(system.config, request.task)
    values = _values(system, samples)
    mean, deviation = values.mean(1), values.std(1)
    explained = samples if entry.as_data is None else values  # in the units of y
    explained = np.asarray(operator.measure(jnp.asarray(explained.reshape(N * S, *samples.shape[2:]))))
    residual = np.abs(explained - np.repeat(y, S, 0))
    figures: dict[str, Any] = {"num_images": N, "num_samples": S, "num_evals": num_evals}
    figures["residual_rms"] = float(np.sqrt(np.mean(residual**2)))
    figures["residual_max"] = float(residual.max())
    measured = _values(system, y) if entry.as_data is None else np.asarray(entry.as_data(operator, jnp.asarray(y)))
    arrays = {"samples": samples, "mean": mean, "deviation": deviation, "measurement": y}
    arrays |= dict(zip(("lower", "upper"), interval(values), strict=True)) if S > 1 else {}
    truth = None if problem.truth is None else _values(system, problem.truth)
    if truth is not None:
        span = None if system.spec.num_levels else float(np.ptp(truth))
        baseline = entry.baseline.restore(measured, problem.known[None], system.spec.shape)
        figures["psnr_mean_db"] = psnr_db(mean, truth, span)
        each = psnr_db(values.reshape(-1, *mean.shape[1:]), truth.repeat(S, 0), span)
        figures["psnr_samples_db"] = each.reshape(N, S).mean(1)
        figures[f"psnr_{entry.baseline.name.replace(' ', '_')}_db"] = psnr_db(baseline, truth, span)
        figures = figures | {f"{k}_over_images": float(np.mean(v)) for k, v in figures.items() if k.startswith("psnr")}
        figures["metrics"] = quality(values, truth, span)
        arrays["input"] = truth
        if span is not None:
            figures["value_range"] = span
    figures["names"] = problem.names
    picture = restored_table(system.spec, truth, measured, values, mean, deviation)
    return SampleResult(picture, arrays, figures, to_levels(system, samples.reshape(N * S, *samples.shape[2:])))


def quality(samples: np.ndarray, truth: np.ndarray, span: float | None) -> dict[str, Any]:
    """Metrics of the mean of samples [N, S, ...], and of them all, over the examples; none if some are not finite."""
    if not np.isfinite(samples).all():
        return {}
    pairs, ensembles = Pairs(samples.mean(1), truth, span), Ensembles(samples, truth)
    several = ("crps", "interval_coverage") if samples.shape[1] > 1 else ()
    names = ("psnr", *(("ssim",) if truth.ndim > 2 else ()), *several)
    estimates = measure(pairs=pairs, ensembles=ensembles, names=names)
    return {name: estimate.to_dict() for name, estimate in estimates.items()}


def _values(system: "Diffusion", x: np.ndarray) -> np.ndarray:
    """Values in the network's range, mapped to [0, 1], or for data without levels to the units of the data."""
    return to_unit(system, x) if system.spec.num_levels else to_levels(system, x)


def restored_table(
    spec: DataSpec,
    truth: np.ndarray | None,
    measured: np.ndarray,
    samples: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
) -> np.ndarray:
    """A row per example: input, measurement, samples, mean, standard deviation (white: the largest of all).

    Vectors are shown as lines, like series; every volume is a row of slices. Data without levels are shown from the
    smallest to the largest value of the input, or of the mean without one.
    """
    shape = spec.shape
    for axis, side in enumerate(shape[:-1], start=1):
        measured = measured.repeat(side // measured.shape[axis], axis=axis)
    columns = ([] if truth is None else [truth]) + [
        np.broadcast_to(measured, (len(measured), *shape)),
        *np.moveaxis(samples[:, :SHOWN], 1, 0),
        mean,
    ]
    first = mean if truth is None else truth
    low, high = (0.0, 1.0) if spec.num_levels else (float(first.min()), float(first.max()))
    columns = [(column - low) / max(high - low, 1e-12) for column in columns]
    columns.append(deviation / max(float(deviation.max()), 1e-12))
    cells = np.stack(columns, axis=1).reshape(-1, *shape, *(1,) * (len(shape) == 1))
    names = [*([] if truth is None else ["input"]), "measured"]
    names += [f"sample {k + 1}" for k in range(len(columns) - len(names) - 2)] + ["mean", "deviation"]
    picture = sample_grid(
        np.round(255 * np.clip(cells, 0, 1)).astype(np.uint8), 256, len(names) if len(shape) < 4 else 1
    )
    return with_headings(picture, names) if len(shape) < 4 else with_headings(picture, names * len(samples), down=True)


def _variance(system: "Diffusion") -> float:
    """Variance of the data in the network's range: the setting, or that of a fixed part of the training split."""
    if (variance := inverse.prior_variance(system.config, system.spec.num_levels)) is not None:
        return variance
    try:
        source = system.context.splits.train
    except FileNotFoundError as error:
        raise ValueError(
            f"config.restore.prior_variance is not set, so the variance of the training data is needed, but {error}; "
            "set it to their variance in [0, 1]."
        ) from error
    return float(to_network(system, source.fetch(np.arange(min(NUM_FOR_VARIANCE, len(source))))["x"]).var())

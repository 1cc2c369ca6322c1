"""Inverse problems: the tasks inpaint, colorize, superresolve, deblur and reconstruct of the program sample."""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from builders import inverse
from data.spec import DataSpec
from evaluation.metrics.base import Ensembles, Pairs
from evaluation.metrics.intervals import interval
from evaluation.metrics.psnr import psnr_db
from evaluation.metrics.table import measure
from reports.sheets import sample_grid, with_headings
from systems.requests.base import SampleFn, SampleResult, to_levels, to_network
from systems.requests.generate import check_labels
from systems.requests.measurements import (
    Measured,
    Problem,
    Restoration,
    known_of,
    measured,
    problem,
    residuals,
    values_of,
)
from systems.requests.posterior import posterior_samples
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.diffusion import Diffusion

NUM_FOR_VARIANCE = 512  # training examples from which the variance of the data is estimated
SHOWN = 8  # samples of an input in the grid


def restoration(system: "Diffusion", request: Restoration) -> SampleFn:
    """Samples conditioned on a measurement of each example. Errors: ValueError for input that does not fit."""
    check_labels(system, request.labels)
    config, task, shape = system.config, request.task, system.spec.shape
    inverse.check_rank(config, task, shape)
    known = known_of(system, request)
    operator = inverse.operator(config, task, shape, known[None])
    sampler = inverse.posterior_sampler(
        config, system.sde, system.sampler, data_variance(system), inverse.width(config, system.spec.num_levels), task
    )
    given = problem(system, request, operator, known)
    return functools.partial(_restored, system, request, given, sampler)


def _restored(
    system: "Diffusion",
    request: Restoration,
    given: Problem,
    sampler: inverse.PosteriorSampler,
    variables: Variables,
    number: int,
) -> SampleResult:
    """Several samples of each example, conditioned on its measurement."""
    found = measured(system, request, given, number)
    num, seen = request.num_samples, found.seen
    sampled = posterior_samples(system, sampler, found.operator, seen, num, variables, number, request.labels_of)
    return _assessed(system, request, given, found, sampled["samples"], sampled["num_evals"])


def _assessed(
    system: "Diffusion", request: Restoration, given: Problem, found: Measured, samples: np.ndarray, num_evals: Any
) -> SampleResult:
    """The grid (input, measurement, samples, mean, standard deviation), the arrays, and their quality."""
    (N, S), entry = samples.shape[:2], inverse.entry(system.config, request.task)
    operator = inverse.operator(system.config, request.task, system.spec.shape, given.known[None])
    values = values_of(system, samples)
    mean, deviation = values.mean(1), values.std(1)
    figures: dict[str, Any] = {"num_images": N, "num_samples": S, "num_evals": num_evals}
    residual = residuals(found, samples, 1.0 if entry.as_data is None else _width(system))
    figures |= {"residual_rms": float(np.sqrt(np.mean(residual**2))), "residual_max": float(residual.max())}
    if entry.as_data is None:
        shown = values_of(system, np.asarray(found.y))
    else:
        shown = np.asarray(entry.as_data(operator, found.linear))
    arrays = {"samples": samples, "mean": mean, "deviation": deviation, "measurement": np.asarray(found.y)}
    arrays |= dict(zip(("lower", "upper"), interval(values), strict=True)) if S > 1 else {}
    truth = None if given.truth is None else values_of(system, given.truth)
    if truth is not None:
        span = None if system.spec.num_levels else float(np.ptp(truth))
        baseline = entry.baseline.restore(shown, given.known[None], system.spec.shape)
        figures["psnr_mean_db"] = psnr_db(mean, truth, span)
        each = psnr_db(values.reshape(-1, *mean.shape[1:]), truth.repeat(S, 0), span)
        figures["psnr_samples_db"] = each.reshape(N, S).mean(1)
        figures[f"psnr_{entry.baseline.name.replace(' ', '_')}_db"] = psnr_db(baseline, truth, span)
        figures = figures | {f"{k}_over_images": float(np.mean(v)) for k, v in figures.items() if k.startswith("psnr")}
        figures["metrics"] = quality(values, truth, span)
        arrays["input"] = truth
        if span is not None:
            figures["value_range"] = span
    figures["names"] = given.names
    picture = restored_table(system.spec, truth, shown, values, mean, deviation)
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


def _width(system: "Diffusion") -> float:
    return inverse.width(system.config, system.spec.num_levels)


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


def data_variance(system: "Diffusion") -> float:
    """Variance of the data in the network's range: the setting, or that of a fixed part of the training split.

    1 for methods that do not use it.
    """
    if system.config.restore.method in ("none", "projection", "self_guidance"):
        return 1.0
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

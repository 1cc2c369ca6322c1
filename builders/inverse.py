"""Inverse problems of a config: what a restoration task measures, and samples of the posterior given a measurement."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from core.arrays import Array
from core.tables import choose
from sampling.base import Sampler, Samples
from sampling.inverse.base import unchanged
from sampling.inverse.methods import METHODS, MethodSettings
from sampling.inverse.operators.base import SpectralOperator
from sampling.inverse.operators.blur import gaussian_blur
from sampling.inverse.operators.downsample import downsample
from sampling.inverse.operators.fourier import fourier
from sampling.inverse.operators.grayscale import grayscale
from sampling.inverse.operators.mask import mask
from sampling.ode import ProbabilityFlow
from sampling.pc import PC
from sde.base import SDE, ScoreFn

# (keys [B], score_fn, operator, y [B, ...]) -> samples of the posterior
PosteriorSampler = Callable[[Array, ScoreFn, SpectralOperator, Array], Samples]


@dataclasses.dataclass(frozen=True)
class OperatorEntry:
    """What a restoration task measures.

    `make`: the operator, from the config, the shape (H, W, C) and the mask [1 or B, H, W, 1], True for known pixels.
    `default_mask`: the mask [H, W, 1] if the user gives none; None for tasks without a mask.
    """

    make: Callable[[ConfigDict, Sequence[int], Any], SpectralOperator]
    default_mask: Callable[[ConfigDict, Sequence[int]], np.ndarray] | None = None


def operator(config: ConfigDict, task: str, shape: Sequence[int], known: Array | np.ndarray) -> SpectralOperator:
    """The operator of `task` for images of `shape` (H, W, C); tasks with a mask use `known` [1 or B, H, W, 1]."""
    return OPERATORS[task].make(config, shape, known)


def default_mask(config: ConfigDict, task: str, shape: Sequence[int]) -> np.ndarray:
    """The mask [H, W, 1] of `task` if the user gives none; nothing is known for tasks without a mask."""
    make = OPERATORS[task].default_mask
    return make(config, shape) if make else np.zeros((*shape[:2], 1), bool)


def posterior_sampler(
    config: ConfigDict, process: SDE, sampler: Sampler, data_variance: float, shape: Sequence[int]
) -> PosteriorSampler:
    """Samples of the posterior: `sampler`, conditioned on a measurement by the method `restore.method`.

    `data_variance`: of the data as the network sees them, used unless `restore.prior_variance` is set.
    Errors: ValueError for a method that cannot be used with the sampler.
    """
    restore = config.restore
    method = choose("restore.method", restore.method, METHODS)
    _check_sampler(config, sampler)
    unit = 2.0 if config.data.centered else 1.0  # width of the network's range of values for data in [0, 1]
    settings = MethodSettings(
        prior_variance=data_variance if restore.prior_variance is None else restore.prior_variance * unit**2,
        covariance=restore.covariance,
        num_iterations=restore.num_iterations,
        limit=restore.limit,
        zeta=restore.zeta,
        form=restore.dps_form,
    )

    def sample(keys: Array, score_fn: ScoreFn, operator: SpectralOperator, y: Array) -> Samples:
        changes = method(process, operator, y, restore.noise_std * unit, settings)
        conditioned = sampler
        if changes.wrap_step is not unchanged:
            assert isinstance(sampler, PC)  # others are refused above
            conditioned = dataclasses.replace(sampler, predictor=changes.wrap_step(sampler.predictor))
        return conditioned(keys, changes.wrap_score(score_fn), (len(y), *shape), constrain=changes.constrain)

    return sample


def _check_sampler(config: ConfigDict, sampler: Sampler) -> None:
    """Errors: ValueError for a method that needs steps which the sampler does not have."""
    restore = config.restore
    if restore.method == "projection" and isinstance(sampler, ProbabilityFlow):
        raise ValueError(
            "config.restore.method = 'projection' changes x at every step, which the adaptive solver of "
            "config.sampling.method = 'ode' does not allow; use sampling.method = 'pc' or 'solver', or another method."
        )
    if restore.method == "dps" and restore.dps_form == "step" and not isinstance(sampler, PC):
        raise ValueError(
            "config.restore.dps_form = 'step' follows the steps of config.sampling.method = 'pc'; use it, or 'score'."
        )


def _hole(config: ConfigDict, shape: Sequence[int]) -> np.ndarray:
    """A mask that is False in the central half of the image, along both axes."""
    height, width = shape[:2]
    known = np.ones((height, width, 1), bool)
    known[height // 4 : height - height // 4, width // 4 : width - width // 4] = False
    return known


def _columns(config: ConfigDict, shape: Sequence[int]) -> np.ndarray:
    """The columns of low frequency, and a random share of the others; in the order of fft2."""
    height, width = shape[:2]
    distance = np.abs(np.fft.fftfreq(width, 1 / width))
    others = np.random.default_rng(0).random(width) < config.restore.kept
    known = np.zeros((height, width, 1), bool)
    known[:, (distance <= config.restore.kept * width / 4) | others] = True
    return known


OPERATORS: dict[str, OperatorEntry] = {
    "inpaint": OperatorEntry(lambda config, shape, known: mask(shape, known), _hole),
    "colorize": OperatorEntry(lambda config, shape, known: grayscale(shape)),
    "superresolve": OperatorEntry(lambda config, shape, known: downsample(shape, config.restore.factor)),
    "deblur": OperatorEntry(lambda config, shape, known: gaussian_blur(shape, config.restore.blur_width)),
    "reconstruct": OperatorEntry(lambda config, shape, known: fourier(shape, known), _columns),
}
MASKED = tuple(task for task, entry in OPERATORS.items() if entry.default_mask)  # the tasks that take a mask

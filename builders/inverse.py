"""Inverse problems from the config: the part of the composition root that reads `restore`."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from core.arrays import Array
from core.tables import choose
from sampling.base import Sampler, Samples
from sampling.inverse.base import Conditioned, unchanged
from sampling.inverse.methods import METHODS, MethodSettings
from sampling.inverse.operators.base import Operator
from sampling.inverse.operators.blur import gaussian_blur
from sampling.inverse.operators.downsample import downsample
from sampling.inverse.operators.fourier import fourier
from sampling.inverse.operators.grayscale import grayscale
from sampling.inverse.operators.mask import mask
from sampling.ode import ProbabilityFlow
from sampling.pc import PC
from sde.base import SDE, ScoreFn

Draw = Callable[[Array, ScoreFn, Operator, Array], Samples]  # (keys [B], score_fn, operator, y [B, ...])


def operator(config: ConfigDict, task: str, shape: Sequence[int], known: Array | np.ndarray) -> Operator:
    """What `task` measures of images `shape` = (H, W, C); `known` [1 or B, H, W, 1] of the tasks that have a mask."""
    return OPERATORS[task](config, shape, known)


def draw(config: ConfigDict, process: SDE, sampler: Sampler, data_variance: float, shape: Sequence[int]) -> Draw:
    """Samples of the posterior, `sampler` changed as `restore.method` says.

    `data_variance`: of the data as the network sees them, used where `restore.prior_variance` is not set.
    Errors: ValueError for a method that the sampler cannot be used with.
    """
    restore = config.restore
    method = choose("restore.method", restore.method, METHODS)
    unit = 2.0 if config.data.centered else 1.0  # of the network's range, in that of the data
    settings = MethodSettings(
        prior_variance=data_variance if restore.prior_variance is None else restore.prior_variance * unit**2,
        covariance=restore.covariance,
        num_iterations=restore.num_iterations,
        limit=restore.limit,
        zeta=restore.zeta,
        form=restore.dps_form,
    )
    if restore.method == "projection" and isinstance(sampler, ProbabilityFlow):
        raise ValueError(
            "config.restore.method = 'projection' changes x at every step, which the adaptive solver of "
            "config.sampling.method = 'ode' does not allow; use sampling.method = 'pc' or 'solver', or another method."
        )
    if restore.method == "dps" and restore.dps_form == "step" and not isinstance(sampler, PC):
        raise ValueError(
            "config.restore.dps_form = 'step' follows the steps of config.sampling.method = 'pc'; use it, or 'score'."
        )

    def restored(keys: Array, score_fn: ScoreFn, operator: Operator, y: Array) -> Samples:
        changes: Conditioned = method(process, operator, y, restore.noise_std * unit, settings)
        changed = sampler
        if changes.wrap_step is not unchanged:
            assert isinstance(sampler, PC)  # refused above
            changed = dataclasses.replace(sampler, predictor=changes.wrap_step(sampler.predictor))
        score_fn = changes.wrap_score(score_fn)
        return changed(keys, score_fn, (len(y), *shape), constrain=changes.constrain)

    return restored


def known_pixels(config: ConfigDict, task: str, shape: Sequence[int]) -> np.ndarray:
    """The mask [H, W, 1] of a task where none was given: a hole in the middle, or low and some other frequencies."""
    height, width = shape[:2]
    known = np.zeros((height, width, 1), bool)
    if task == "inpaint":
        known[:] = True
        known[height // 4 : height - height // 4, width // 4 : width - width // 4] = False
    elif task == "reconstruct":
        distance = np.abs(np.fft.fftfreq(width, 1 / width))  # columns of the spectrum, in the order of fft2
        others = np.random.default_rng(0).random(width) < config.restore.kept
        known[:, (distance <= config.restore.kept * width / 4) | others] = True
    return known


OPERATORS: dict[str, Callable[[ConfigDict, Sequence[int], Any], Operator]] = {
    "inpaint": lambda config, shape, known: mask(shape, known),
    "colorize": lambda config, shape, known: grayscale(shape),
    "superresolve": lambda config, shape, known: downsample(shape, config.restore.factor),
    "deblur": lambda config, shape, known: gaussian_blur(shape, config.restore.blur_width),
    "reconstruct": lambda config, shape, known: fourier(shape, known),
}
MASKED = ("inpaint", "reconstruct")  # the tasks that take a mask

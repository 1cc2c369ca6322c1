"""Inverse problems of a config: what a restoration task measures, and samples of the posterior given a measurement."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders import data
from builders.operator_entry import OperatorEntry, Shape
from builders.reconstruction import RECONSTRUCTIONS, reconstruction
from core.arrays import Array
from core.keys import SampleKey, draw_normal, fold_in
from core.tables import choose
from corruption.predictions import Predict
from data.shapes import KINDS
from evaluation.metrics.restoration import Baseline, as_measured, cubic, gray_replicated, mean_fill
from sampling.base import Sampler, Samples
from sampling.few_steps import FewSteps
from sampling.inverse.base import unchanged
from sampling.inverse.methods import METHODS, MethodSettings
from sampling.inverse.operators.base import LinearOperator, SpectralOperator
from sampling.inverse.operators.blur import gaussian_blur
from sampling.inverse.operators.downsample import downsample
from sampling.inverse.operators.factored import factored, is_small
from sampling.inverse.operators.grayscale import grayscale
from sampling.inverse.operators.mask import mask
from sampling.inverse.operators.sense import Sense
from sampling.inverse.operators.sense_lines import by_rows, is_by_rows
from sampling.inverse.operators.weighted import Weighted
from sampling.loop import FixedStep
from sampling.noised import at_noise, time_of_noise
from sampling.ode import ProbabilityFlow
from sampling.pc import PredictorCorrector
from sde.base import SDE

SOLVING = ("projection", "ddnm", "pigdm")  # methods that solve linear systems with A A^T
# (keys [B], predict, operator, y [B, ...], levels [B], see `quantile_levels`) -> samples of the posterior
PosteriorSampler = Callable[[Array, Predict, LinearOperator, Array, Array], Samples]


def entry(config: ConfigDict, task: str) -> OperatorEntry:
    """The row of a task; that of reconstruct is what `restore.operator` names. Errors: ValueError."""
    return reconstruction(config) if task == "reconstruct" else OPERATORS[task]


def check_rank(config: ConfigDict, task: str, shape: Shape) -> None:
    """Errors: ValueError for a task that does not measure examples of `shape`."""
    ranks = entry(config, task).ranks
    if len(shape) not in ranks:
        others = [name for name, entry in OPERATORS.items() if len(shape) in entry.ranks]
        raise ValueError(
            f"--task={task} is for {', '.join(KINDS[rank] for rank in ranks)}, but examples have the shape "
            f"{tuple(shape)}; use {', '.join([*others, 'unconditional'])}."
        )


def operator(config: ConfigDict, task: str, shape: Shape, known: Array | np.ndarray) -> LinearOperator:
    """The operator of `task` for examples of `shape`; tasks with a mask use `known` [1 or B, ...]."""
    return entry(config, task).operator(config, shape, known)


def with_singular_values(config: ConfigDict, operator: LinearOperator) -> LinearOperator:
    """The operator for the sampler: with its singular values, if the method solves linear systems and it is small.

    Weights of counts differ between measurements, so every one would need a decomposition of its own.
    """
    if isinstance(operator, SpectralOperator | Weighted) or config.restore.method not in SOLVING:
        return operator
    if isinstance(operator, Sense) and is_by_rows(operator):
        return by_rows(operator)
    return factored(operator) if is_small(operator) else operator


def default_mask(config: ConfigDict, task: str, shape: Shape) -> np.ndarray:
    """The mask of `task` if the user gives none; nothing is known for tasks without a mask."""
    make = entry(config, task).default_mask
    return make(config, shape) if make else np.zeros((*shape[:-1], 1), bool)


def width(config: ConfigDict, num_levels: int) -> float:
    """What one unit of the data, [0, 1] for data with levels, is in the network's units."""
    if not num_levels:
        return 1 / data.affine(config, num_levels)[1]
    return 2.0 if config.data.centered else 1.0


def for_network(config: ConfigDict, num_levels: int, operator: LinearOperator, y: Array) -> Array:
    """The measurement y of data in their units, [0, 1] with levels, as one of x as the network sees them.

    For data = offset + x / width, A data = A offset + A x / width.
    """
    offset = (0.5 if config.data.centered else 0.0) if num_levels else data.affine(config, num_levels)[0]
    return (y - operator.measure(jnp.full((1, *operator.shape), offset))) * width(config, num_levels)


def prior_variance(config: ConfigDict, num_levels: int) -> float | None:
    """`restore.prior_variance` in the network's units; None where it is not set."""
    variance = config.restore.prior_variance
    return None if variance is None else variance * width(config, num_levels) ** 2


def posterior_sampler(
    config: ConfigDict, process: SDE, sampler: Sampler, prior_variance: float, width: float, task: str = "reconstruct"
) -> PosteriorSampler:
    """Samples of the posterior: `sampler`, conditioned on a measurement by the method `restore.method`.

    `prior_variance`: of the data as the network sees them. `width`: see there.
    Errors: ValueError for a method that cannot be used with the sampler, and for a task that needs noise without any.
    """
    restore = config.restore
    if entry(config, task).from_noise:
        if not restore.noise_std:
            raise ValueError(
                f"--task={task} removes noise, but config.restore.noise_std = 0; set it to the standard deviation of "
                "the noise, for data in [0, 1], or in the units of data without levels."
            )
        return from_noise(process, sampler, restore.noise_std * width, has_noise=True)
    method = choose("restore.method", restore.method, METHODS)
    _check_sampler(config, sampler)
    settings = MethodSettings(
        prior_variance=prior_variance,
        covariance=restore.covariance,
        num_iterations=restore.num_iterations,
        limit=restore.limit,
        zeta=restore.zeta,
        form=restore.dps_form,
        loss=restore.observation_loss,
        scale=restore.observation_scale,
    )

    def sample(keys: Array, predict: Predict, operator: LinearOperator, y: Array, levels: Array) -> Samples:
        own = dataclasses.replace(settings, level=levels)
        noise_std = 1.0 if isinstance(operator, Weighted) else restore.noise_std
        changes = method(process, operator, y, noise_std * width, own)
        conditioned = sampler
        if changes.wrap_step is not unchanged:
            steps = _predictor_corrector(sampler)
            assert isinstance(sampler, FixedStep) and steps  # others are refused above
            wrapped = dataclasses.replace(steps, predictor=changes.wrap_step(steps.predictor))
            conditioned = dataclasses.replace(sampler, stepper=wrapped)
        return conditioned(keys, changes.wrap_predict(predict), (len(y), *operator.shape), constrain=changes.constrain)

    return sample


def from_noise(process: SDE, sampler: Sampler, noise_std: float, has_noise: bool) -> PosteriorSampler:
    """Samples of the data from y, at the time at which the process has noise of `noise_std`.

    `has_noise`: whether y has it already; otherwise it is added.
    Errors: ValueError for noise that the process never has.
    """
    t = time_of_noise(process, noise_std)

    def sample(keys: Array, predict: Predict, operator: LinearOperator, y: Array, levels: Array) -> Samples:
        z = draw_normal(fold_in(keys, SampleKey.PRIOR), y.shape)
        return sampler(keys, predict, y.shape, start=(at_noise(process, t, y, noise_std * has_noise, z), t))

    return sample


def identity(shape: Shape) -> LinearOperator:
    """Measures every entry of x."""
    return mask(shape, np.ones((1,) * len(shape), bool))


def _predictor_corrector(sampler: Sampler) -> PredictorCorrector | None:
    """The steps of a predictor-corrector sampler; None for every other sampler."""
    stepper = sampler.stepper if isinstance(sampler, FixedStep) else None
    return stepper if isinstance(stepper, PredictorCorrector) else None


def _check_sampler(config: ConfigDict, sampler: Sampler) -> None:
    """Errors: ValueError for a method that needs steps which the sampler does not have."""
    restore, stepper = config.restore, sampler.stepper if isinstance(sampler, FixedStep) else None
    if restore.method != "projection" and isinstance(stepper, FewSteps):
        raise ValueError(
            f"config.restore.method = {restore.method!r} changes predictions at one time, but config.sampling.method = "
            f"{config.sampling.method!r} uses averages between two; use restore.method = 'projection', or "
            "sampling.method = 'solver'."
        )
    if restore.method == "projection" and isinstance(sampler, ProbabilityFlow):
        raise ValueError(
            "config.restore.method = 'projection' changes x at every step, which the adaptive solver of "
            "config.sampling.method = 'ode' does not allow; use sampling.method = 'pc' or 'solver', or another method."
        )
    if restore.method == "dps" and restore.dps_form == "step" and not _predictor_corrector(sampler):
        raise ValueError(
            "config.restore.dps_form = 'step' follows the steps of config.sampling.method = 'pc'; use it, or 'score'."
        )


def _sides(shape: Shape) -> int:
    """The number of axes that a mask distinguishes: all but the channels, or the only one."""
    return max(len(shape) - 1, 1)


def _hole(config: ConfigDict, shape: Shape) -> np.ndarray:
    """A mask that is False in the central half along every side."""
    sides = shape[: _sides(shape)]
    known = np.ones(sides, bool)
    known[tuple(slice(side // 4, side - side // 4) for side in sides)] = False
    return known.reshape(*sides, *(1,) * (len(shape) - len(sides)))


OPERATORS: dict[str, OperatorEntry] = {
    "inpaint": OperatorEntry(
        lambda config, shape, known: mask(shape, known),
        Baseline("mean of the known entries", mean_fill),
        ranks=(1, 2, 3, 4),
        default_mask=_hole,
    ),
    "colorize": OperatorEntry(
        lambda config, shape, known: grayscale(shape), Baseline("grayscale in every channel", gray_replicated)
    ),
    "superresolve": OperatorEntry(
        lambda config, shape, known: downsample(shape, config.restore.factor), Baseline("cubic interpolation", cubic)
    ),
    "deblur": OperatorEntry(
        lambda config, shape, known: gaussian_blur(shape, config.restore.blur_width),
        Baseline("as measured", as_measured),
    ),
    "denoise": OperatorEntry(
        lambda config, shape, known: identity(shape),
        Baseline("as measured", as_measured),
        ranks=(1, 2, 3, 4),
        from_noise=True,
    ),
    "reconstruct": RECONSTRUCTIONS["fourier"],  # or another one: see `entry`
}
MASKED = tuple(task for task, entry in OPERATORS.items() if entry.default_mask)  # the tasks that take a mask

"""The evaluation reconstruction: samples of the posterior of test examples, beside methods without a score model."""

import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from builders import inverse
from core.arrays import Array
from core.tables import choose
from data.source import Source
from evaluation.metrics.phase import magnitude
from evaluation.rounds import Task
from evaluation.tasks.reconstruction import Reconstructed, reconstruction_task
from sampling.inverse.classical import best_lmmse, best_total_variation, principal_components
from sampling.inverse.operators.base import LinearOperator
from systems.requests.base import to_network
from systems.requests.measurements import (
    MaskedRestoration,
    Problem,
    check_counts,
    known_of,
    measured,
    residuals,
    values_of,
)
from systems.requests.posterior import Posterior
from systems.requests.restore import data_variance
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its evaluations
    from systems.diffusion import Diffusion

NUM_TRAIN, FEWEST = 3000, 8  # training examples that the baselines know, at most and at least
HELD_OUT, FEW = 40, 8  # of these, at most a quarter, by which their settings are chosen; for the slower one
NUM_FOR_RANGE = 1000  # test examples whose range of values is that of data without levels
COMPLEX = ("complex_fourier", "sense")  # what measures complex images, where these have two channels

Classical = Callable[[LinearOperator, Array], np.ndarray]
CLASSICAL: dict[str, Callable[[LinearOperator, np.ndarray, np.ndarray], Classical]] = {  # from known and held out ones
    "total_variation": lambda operator, train, held_out: best_total_variation(operator, held_out[:FEW]),
    "pca_lmmse": lambda operator, train, held_out: best_lmmse(operator, principal_components(train), held_out),
}


def first_of(source: Source, num: int) -> Source:
    """The first `num` examples of a source; all of them for 0."""
    return dataclasses.replace(source, num_examples=min(num, len(source)) if num else len(source))


def reconstruction(system: "Diffusion", number: int, variables: Variables | None) -> Task:
    """Figures of `eval.restoration` for the test examples. Errors: ValueError for settings that do not fit."""
    config, settings, shape = system.config, system.config.eval, system.spec.shape
    choose("eval.restoration", settings.restoration, inverse.OPERATORS)
    request = MaskedRestoration(task=settings.restoration, num_samples=settings.posterior_samples)
    inverse.check_rank(config, request.task, shape)
    known = known_of(system, request)
    operator = inverse.operator(config, request.task, shape, known[None])
    check_counts(system, request, operator)
    _check_baselines(system)
    width = inverse.width(config, system.spec.num_levels)
    sampler = inverse.posterior_sampler(config, system.sde, system.sampler, data_variance(system), width, request.task)
    posterior, entry = Posterior(system, sampler), inverse.entry(config, request.task)
    test = first_of(system.context.splits.test, settings.num_examples)
    fit = functools.cache(lambda: _classical(system, operator))  # not where all rounds are done
    direct = entry.baseline.name.replace(" ", "_")

    def reconstruct(batch: dict[str, Any]) -> Reconstructed:
        assert variables is not None
        x, index = to_network(system, batch["x"]), np.asarray(batch["index"])
        found = measured(system, request, Problem([""] * len(x), x, None, known), number, index)
        drawn = posterior(found.operator, found.seen, request.num_samples, variables, number, index=index)
        samples = drawn["samples"]
        residual = residuals(found, samples, 1.0 if entry.as_data is None else width).max(axis=1)
        if entry.as_data is None:
            shown = values_of(system, np.asarray(found.y))
        else:
            shown = np.asarray(entry.as_data(operator, found.linear))
        others = {direct: entry.baseline.restore(shown, known[None], shape)}
        others |= {name: method(operator, found.linear) for name, method in fit().items()}
        return Reconstructed(values_of(system, samples), values_of(system, x), residual, others)

    is_complex = request.task == "reconstruct" and config.restore.operator in COMPLEX and shape[-1] == 2
    return reconstruction_task(
        *system.batches(test),
        reconstruct,
        (direct, *settings.baselines),
        value_range=None if system.spec.num_levels else _range(test, is_complex),
        is_complex=is_complex,
        has_sides=len(shape) > 1,
        has_interval=request.num_samples > 1,
    )


def _check_baselines(system: "Diffusion") -> None:
    """Errors: ValueError for a method that is not known, does not suit the restoration, or is not installed."""
    settings = system.config.eval
    for name in settings.baselines:
        choose("eval.baselines", name, CLASSICAL)
        if settings.restoration != "reconstruct":
            raise ValueError(
                f"config.eval.baselines has {name}, which inverts what config.restore.operator measures, but "
                f"config.eval.restoration = {settings.restoration!r}; leave it out."
            )
        if name == "total_variation" and importlib.util.find_spec("skimage") is None:
            raise ValueError(
                "config.eval.baselines has total_variation, which needs scikit-image: `pip install scikit-image`."
            )
        if (num := len(system.context.splits.train)) < FEWEST:
            raise ValueError(
                f"config.eval.baselines has {name}, whose settings are chosen by training examples, at least {FEWEST} "
                f"of them, but {system.config.data.dataset} has {num}; leave it out."
            )


def _classical(system: "Diffusion", operator: LinearOperator) -> Mapping[str, Classical]:
    """The methods of `eval.baselines`, with the settings that suit training examples best."""
    names = system.config.eval.baselines
    if not names:
        return {}
    train = system.context.splits.train
    x = np.asarray(values_of(system, to_network(system, train.fetch(np.arange(min(len(train), NUM_TRAIN)))["x"])))
    known, held_out = np.split(x, [-min(HELD_OUT, len(x) // 4)])
    return {name: CLASSICAL[name](operator, known, held_out) for name in names}


def _range(test: Source, is_complex: bool) -> float:
    """The largest minus the smallest value, or magnitude, of examples."""
    x = test.fetch(np.arange(min(len(test), NUM_FOR_RANGE)))["x"]
    return float(np.ptp(magnitude(x) if is_complex else x))

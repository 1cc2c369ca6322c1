"""Time series: the task refine of the program sample, which improves a forecast that was made elsewhere."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from builders import likelihood
from builders.few_steps import check_density
from core.arrays import Array
from core.keys import RestorationKey, restoration_key, sample_keys
from core.tables import choose
from corruption.predictions import Predict
from data.readers import windows
from data.readers.series import Series, read_series
from sampling.observation_guidance import quantile_levels
from sampling.refine import PULLS, Energy, Pull, loss_energy, refine
from systems.requests.base import SampleFn, batch_size, in_batches, to_network
from systems.requests.series import Filling, check_series, filled, read
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.diffusion import Diffusion


@dataclasses.dataclass(frozen=True)
class Refinement(Filling):
    """`num_samples` refinements of the forecast of each series; `forecast`: a file of series with its next values.

    energy: "loss", the denoising loss at `time`, or "likelihood", the negative log-likelihood as `eval` has it, which
    takes the solution of an ODE for every step. The others are arguments of `sampling.refine.refine`.
    """

    forecast: pathlib.Path | None = None
    energy: str = "loss"
    time: float = 0.05
    pull: str = "mean_square"
    weight: float = 1.0
    num_steps: int = 20
    step_size: float = 0.1
    temperature: float = 0.0

    def __post_init__(self) -> None:
        """Errors: ValueError for numbers out of range."""
        super().__post_init__()
        for name, fits, wanted in (
            ("time", 0 < self.time <= 1, "above 0 and at most 1"),
            ("weight", self.weight >= 0, "at least 0"),
            ("num_steps", self.num_steps >= 1, "at least 1"),
            ("step_size", self.step_size > 0, "above 0"),
        ):
            if not fits:
                raise ValueError(f"--request.{name}={getattr(self, name):g} was given, but it must be {wanted}.")


def refinement(system: "Diffusion", request: Refinement) -> SampleFn:
    """The forecast of each series, refined. Errors: ValueError for series and forecasts that do not fit."""
    horizon = check_series(system, request)
    choose("request.energy", request.energy, ENERGIES)
    choose("request.pull", request.pull, dict.fromkeys(PULLS))
    series, found = read(system, request, horizon)
    if request.forecast is None:
        raise ValueError(
            f"--task=refine needs --request.forecast=FILE, series of the next {horizon} values of each series."
        )
    given = read_series(request.forecast)
    whole = [continued(each, forecast, horizon) for each, forecast in _pairs(series, given, request.forecast)]
    length, lags = system.spec.shape[0], windows.lags_of(system.config.data.lags, series)
    base = np.stack([windows.last(each, length, horizon, lags, 0).values for each in whole])

    def fill(known: np.ndarray, y: np.ndarray, variables: Variables, number: int) -> dict[str, Any]:
        x = np.repeat(np.where(known, y, to_network(system, base))[:, None], request.num_samples, axis=1)
        return refined(system, request, x.astype(np.float32), known, variables, number)

    return functools.partial(filled, system, request, fill, series, found)


def _pairs(series: list[Series], given: list[Series], path: pathlib.Path) -> list[tuple[Series, Series]]:
    """Each series with its forecast: by name, or the only one. Errors: ValueError where one is missing."""
    if len(series) == len(given) == 1:
        return [(series[0], given[0])]
    by_name = {each.name: each for each in given}
    for each in series:
        if each.name not in by_name:
            raise ValueError(
                f"{path} has forecasts of {', '.join(by_name)}, but none of {each.name}; give one for each series."
            )
    return [(each, by_name[each.name]) for each in series]


def continued(series: Series, forecast: Series, horizon: int) -> Series:
    """A series with the forecast of its next values. Errors: ValueError for a forecast of another shape, or gaps."""
    wanted = (horizon, series.values.shape[1])
    if forecast.values.shape != wanted or not np.isfinite(forecast.values).all():
        missing = "" if forecast.values.shape != wanted else ", and some of them are missing"
        raise ValueError(
            f"The forecast of {series.name} has {forecast.values.shape[0]} values of {forecast.values.shape[1]} "
            f"channels{missing}, but the model refines {horizon} values of {wanted[1]}; give as many."
        )
    return dataclasses.replace(series, values=np.concatenate([series.values, forecast.values]))


def refined(
    system: "Diffusion", request: Refinement, x: np.ndarray, known: np.ndarray, variables: Variables, number: int
) -> dict[str, Any]:
    """ "samples" [N, S, L, C] refined from x, of that shape and as the network sees it, where not known [N, L, C].

    "num_evals": one call of the network per step for the loss, and NaN for the likelihood, which does not count them.
    """
    key = restoration_key(system.key, number, RestorationKey.POSTERIOR)
    num, total = x.shape[1], x.shape[0] * x.shape[1]
    flat, make = x.reshape(total, *x.shape[2:]), ENERGIES[request.energy]

    @jax.jit
    def compiled(params: Any, guide: Any, keys: Array, base: Array, free: Array, level: Array) -> Array:
        energy = make(system, system.guide.predict_of(params, guide, None), request)
        return refine(
            energy, keys, base, free, pull=cast(Pull, request.pull), weight=request.weight, level=level,
            num_steps=request.num_steps, step_size=request.step_size, temperature=request.temperature,
        )  # fmt: skip

    def generate(rows: np.ndarray) -> dict[str, Any]:
        keys = sample_keys(key, rows // num, rows % num)
        level = quantile_levels(jnp.asarray(rows % num), num)
        given = system.devices.shard_rows((keys, flat[rows], ~known[rows // num], level))
        samples = compiled(variables["params"], system.guide.params, *given)
        return {"samples": samples, "num_evals": request.num_steps if request.energy == "loss" else np.nan}

    found = in_batches(generate, total, batch_size(system, total), "refinement")
    return found | {"samples": found["samples"].reshape(x.shape)}


def _by_loss(system: "Diffusion", predict: Predict, request: Refinement) -> Energy:
    return loss_energy(system.sde, predict, request.time)


def _by_likelihood(system: "Diffusion", predict: Predict, request: Refinement) -> Energy:
    check_density(system.config)
    measure = likelihood.log_density(system.config, system.sde)
    return lambda keys, x: -measure(predict, keys, x).nats


ENERGIES: dict[str, Callable[["Diffusion", Predict, Refinement], Energy]] = {
    "loss": _by_loss,
    "likelihood": _by_likelihood,
}

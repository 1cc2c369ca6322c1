"""Time series: the tasks forecast and impute of the program sample, by any method for inverse problems.

`systems.requests.refine` and `systems.requests.synthesize` have the others.
"""

import csv
import dataclasses
import functools
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from builders import inverse
from builders.condition import conditions
from data.readers import windows
from data.readers.series import Series
from data.readers.windows import Window
from reports.fans import Fan, fan_chart
from sampling.inverse.operators.mask import mask
from systems.requests.base import (
    LabelsOf,
    Request,
    SampleFn,
    SampleResult,
    to_levels,
    to_network,
    without_labels,
)
from systems.requests.posterior import Posterior
from systems.requests.restore import data_variance
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.diffusion import Diffusion

FORM = "series:"  # of `data.dataset`
LEVELS = tuple(k / 10 for k in range(1, 10))  # of the quantiles that are written

# (where x is known [N, L, C], x there, 0 elsewhere, variables, number of the checkpoint) -> "samples", "num_evals"
Fill = Callable[[np.ndarray, np.ndarray, Variables, int], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Filling(Request):
    """`num_samples` of what is not known of each series of `input`: a file, or by default the data set itself."""

    input: str | None = None
    num_samples: int = 100


def forecast(system: "Diffusion", request: Filling) -> SampleFn:
    """What follows the end of each series, `data.horizon` values. Errors: ValueError for series that do not fit."""
    series, found = read(system, request, check_series(system, request))
    return functools.partial(filled, system, request, _fill(system, request), series, found)


def impute(system: "Diffusion", request: Filling) -> SampleFn:
    """The missing values at the end of each series, in a window as long as those of the model. Errors: as `forecast`,
    and for series without missing values.
    """
    check_series(system, request)
    series, found = read(system, request, 0)
    for each, window in zip(series, found, strict=True):
        if window.known.all():
            raise ValueError(
                f"{each.name} of {_path(system, request)} has no missing value among its last {len(window.known)}; "
                "nothing to impute."
            )
    return functools.partial(filled, system, request, _fill(system, request), series, found)


def check_series(system: "Diffusion", request: Filling) -> int:
    """`data.horizon`. Errors: ValueError for a model that is not one of series."""
    data = system.config.data
    if not data.horizon or not (request.input or data.dataset.startswith(FORM)):
        raise ValueError(
            f"--task={request.task} needs a model of time series, trained with config.data.horizon, but this one was "
            f"trained on {data.dataset}; train one by configs/tsdiff/own.py."
        )
    return data.horizon


def read(system: "Diffusion", request: Filling, ahead: int) -> tuple[list[Series], list[Window]]:
    """The series, and the last window of each, which ends `ahead` values after its end. Errors: ValueError."""
    data, (length, _), path = system.config.data, system.spec.shape, _path(system, request)
    series = windows.load(path)
    lags = windows.lags_of(data.lags, series)
    found = [windows.last(each, length, data.horizon, lags, ahead) for each in series]
    for each, window in zip(series, found, strict=True):
        if window.values.shape != system.spec.shape:
            raise ValueError(
                f"{each.name} of {path} has {each.values.shape[1]} channels, but the model was trained on windows of "
                f"{system.spec.shape} with {len(lags)} lags; give series with as many channels."
            )
    return series, found


def _path(system: "Diffusion", request: Filling) -> str:
    return request.input or str(system.config.data.dataset).removeprefix(FORM)


def posterior_of(system: "Diffusion") -> Posterior:
    """Samples of what is not known, by the method of the config."""
    width = inverse.width(system.config, system.spec.num_levels)
    return Posterior(
        system,
        inverse.posterior_sampler(system.config, system.sde, system.sampler, data_variance(system), width),
    )


def _fill(system: "Diffusion", request: Filling) -> Fill:
    posterior = posterior_of(system)

    def fill(known: np.ndarray, y: np.ndarray, variables: Variables, number: int) -> dict[str, Any]:
        operator, asked = mask(system.spec.shape, known), context_of(system, known, y)
        return posterior(operator, y, request.num_samples, variables, number, asked)

    return fill


def context_of(system: "Diffusion", known: np.ndarray, y: np.ndarray) -> LabelsOf:
    """What a network that is conditioned on the context of y [N, L, C] is given, by row; nothing for others."""
    if all(c.name != windows.CONTEXT for c in conditions(system.config)):
        return without_labels
    given = windows.context(y, known, system.config.data.horizon)
    return lambda rows: {windows.CONTEXT: jnp.asarray(given[rows])}


def filled(
    system: "Diffusion",
    request: Filling,
    fill: Fill,
    series: Sequence[Series],
    found: Sequence[Window],
    variables: Variables,
    number: int,
) -> SampleResult:
    """Samples, quantiles and mean of the missing values, in the units of the series."""
    known = np.stack([window.known for window in found])
    y = np.where(known, to_network(system, np.stack([window.values for window in found])), 0.0)
    drawn = fill(known, y, variables, number)
    scale = np.stack([window.scale for window in found])  # [N, C]
    own = scale.shape[1]  # channels without their lags
    samples = to_levels(system, drawn["samples"])[..., :own] * scale[:, None, None]
    values = np.stack([window.values for window in found])[..., :own] * scale[:, None]
    values, missing = np.where(known[..., :own], values, np.nan), ~known[..., :own]
    quantiles = np.quantile(samples, LEVELS, axis=1).swapaxes(0, 1)
    arrays = {
        "samples": samples, "quantiles": quantiles, "levels": np.array(LEVELS), "values": values,
        "names": np.array([each.name for each in series]),
    }  # fmt: skip
    figures: dict[str, Any] = {
        "num_series": len(series), "num_samples": request.num_samples, "num_evals": drawn["num_evals"],
        "num_missing": int(missing.sum()),
    }  # fmt: skip
    steps = _steps(missing)
    fans = [
        Fan(each.name if own == 1 else f"{each.name}, channel {c}", values[n, :, c], samples[n, :, :, c], steps[n])
        for n, each in enumerate(series)
        for c in range(own)
        if missing[n, :, c].any()
    ]
    tables = {request.task: _table(series, steps, missing, samples, quantiles)}
    return SampleResult(fan_chart(fans), arrays, figures, tables=tables)


def _steps(missing: np.ndarray) -> np.ndarray:
    """The steps [N, L] of windows, where 1 is the first after the last known value, for `missing` [N, L, C]."""
    ahead = missing[:, ::-1].all(axis=2).cumprod(axis=1).sum(axis=1)
    return np.arange(1 - missing.shape[1], 1) + ahead[:, None]


def _table(
    series: Sequence[Series], steps: np.ndarray, missing: np.ndarray, samples: np.ndarray, quantiles: np.ndarray
) -> str:
    """A line of CSV for each missing value: mean and quantiles."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["item_id", "step", "channel", "mean", *(f"q{level:g}" for level in LEVELS)])
    for n, t, c in np.argwhere(missing).tolist():
        numbers = [samples[n, :, t, c].mean(), *quantiles[n, :, t, c]]
        writer.writerow([series[n].name, steps[n, t], c, *(f"{value:.7g}" for value in numbers)])
    return text.getvalue()

"""Time series: the task synthesize of the program sample, which writes new series as a table."""

import csv
import dataclasses
import functools
import io
from typing import TYPE_CHECKING

import numpy as np

from systems.requests.base import SampleFn, SampleResult
from systems.requests.generate import generated
from systems.requests.series import Filling, check_series
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.diffusion import Diffusion


@dataclasses.dataclass(frozen=True)
class Synthesis(Filling):
    """`num_samples` series as long as the windows of the model, relative to the mean of their context, or `scale`."""

    scale: float = 1.0


def synthesis(system: "Diffusion", request: Synthesis) -> SampleFn:
    """New series. Errors: ValueError for a model that is not one of series, and an input, which it does not have."""
    check_series(system, request)
    if request.input is not None:
        raise ValueError(f"--task=synthesize samples new series, but --input={request.input} was given; leave it out.")
    if not np.isfinite(request.scale) or request.scale == 0:
        raise ValueError(f"--request.scale={request.scale:g} was given, but a number other than 0 is needed.")
    return functools.partial(_synthesized, system, request)


def _synthesized(system: "Diffusion", request: Synthesis, variables: Variables, number: int) -> SampleResult:
    """The samples of an evaluation, without lags, with a table that `data.dataset = series:FILE` reads."""
    result = generated(system, {}, request.num_samples, None, variables, number)
    own = system.spec.fields["scale"].shape[0]  # channels without their lags
    values = result.arrays["arr_0"][..., :own] * request.scale
    return result._replace(arrays={"arr_0": values}, samples=values, tables={request.task: _table(values)})


def _table(values: np.ndarray) -> str:
    """A line of CSV for each time of each series [N, L, C]."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time", "item_id", *(f"value_{c}" for c in range(values.shape[2]))])
    for n, each in enumerate(values):
        for t, row in enumerate(each):
            writer.writerow([t, n, *(f"{value:.7g}" for value in row)])
    return text.getvalue()

"""Categories, some of them known: the task inpaint of the program sample, by clamping them."""

import dataclasses
import functools
import pathlib
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from builders import inverse
from core.arrays import Array
from core.keys import RestorationKey, RunKey, fold_in, keys_at
from data.readers.inputs import read_mask
from data.spec import DataSpec
from sampling.categorical import complete
from systems.requests.base import (
    Input,
    LabelsOf,
    SampleFn,
    SampleResult,
    batch_size,
    images,
    in_batches,
    without_labels,
)
from systems.requests.generate import check_labels
from systems.requests.restore import quality, restored_table
from training.objectives.base import Variables

if TYPE_CHECKING:  # systems have tables of their tasks
    from systems.base import System
    from systems.categorical import CategoricalDiffusion


@dataclasses.dataclass(frozen=True)
class Completion(Input):
    """`num_samples` of each input that agree with it where it is known.

    `mask`: a file with what is known, which is neither black nor zero; by default all but the middle.
    """

    num_samples: int = 8
    mask: str | None = None


def completion(system: "CategoricalDiffusion", request: Completion) -> SampleFn:
    """Samples with known sites. Errors: ValueError for input that does not fit."""
    check_labels(system, request.labels)
    return functools.partial(_completed, system, request, *images(system, request), mask_of(system, request))


def mask_of(system: "System", request: Completion) -> np.ndarray:
    """What of an example is known, bool [*sides, 1 or C]. Errors: ValueError for a mask that does not fit."""
    shape = system.spec.shape
    if request.mask is None:
        return inverse.default_mask(system.config, "inpaint", shape)
    data = system.config.data
    return read_mask(pathlib.Path(request.mask), shape, data.resize, max_pixels=data.max_pixels)


def _completed(
    system: "CategoricalDiffusion",
    request: Completion,
    names: list[str],
    levels: np.ndarray,
    known: np.ndarray,
    variables: Variables,
    number: int,
) -> SampleResult:
    x0 = np.asarray(system.to_model(jnp.asarray(levels)))
    found = completions(system, known, x0, request.num_samples, variables, number, request.labels_of)
    return completed(system.spec, names, levels, known, found["samples"], found["num_evals"])


def completions(
    system: "CategoricalDiffusion",
    known: np.ndarray,
    x0: np.ndarray,
    num: int,
    variables: Variables,
    number: int,
    labels_of: LabelsOf = without_labels,
) -> dict[str, Any]:
    """ "samples" [N, num, ...] that agree with x0 [N, ...] where `known`, each with its own key, and "num_evals"."""
    key = fold_in(fold_in(fold_in(system.key, RunKey.RESTORE), number), RestorationKey.POSTERIOR)
    total = len(x0) * num

    @jax.jit
    def compiled(params: Any, guide: Any, keys: Array, labels: Array | None, x0: Array) -> dict[str, Array]:
        predict = system.guide.predict_of(params, guide, labels)
        found = complete(system.sampler, system.process, keys, predict, x0, jnp.asarray(known)[None])
        return {"samples": system.to_data(found.x), "num_evals": found.num_evals}

    def generate(rows: np.ndarray) -> dict[str, Array]:
        keys = jax.vmap(jax.random.fold_in)(keys_at(key, rows // num), rows % num)
        given = system.devices.shard_rows((keys, labels_of(rows // num), x0[rows // num]))
        return compiled(variables["params"], system.guide.params, *given)

    found = in_batches(generate, total, batch_size(system, total))
    return found | {"samples": found["samples"].reshape(len(x0), num, *system.spec.shape)}


def completed(
    spec: DataSpec, names: list[str], given: np.ndarray, known: np.ndarray, samples: np.ndarray, num_evals: float
) -> SampleResult:
    """The result: samples [N, S, ...] of the examples `given` [N, ...] beside them, all of the data's own values."""
    (N, S), top = samples.shape[:2], max(1, spec.num_levels - 1)
    values, truth = samples / np.float32(top), given / np.float32(top)
    measured, mean, deviation = np.where(known[None], truth, 0), values.mean(1), values.std(1)
    arrays = {"samples": samples, "mean": mean, "deviation": deviation, "measurement": measured, "input": truth}
    figures = {"num_images": N, "num_samples": S, "num_evals": num_evals, "names": names}
    figures["metrics"] = quality(values, truth, None if spec.num_levels else float(np.ptp(truth)))
    picture = restored_table(spec, truth, measured, values, mean, deviation)
    return SampleResult(picture, arrays, figures, samples.reshape(N * S, *spec.shape))

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
from sampling.categorical import complete
from systems.requests.base import Input, SampleFn, SampleResult, batch_size, images, in_batches
from systems.requests.generate import check_labels
from systems.requests.restore import quality, restored_table
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
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
    shape = system.spec.shape
    default = inverse.default_mask(system.config, "inpaint", shape)
    limit = system.config.data.max_pixels
    known = default if request.mask is None else read_mask(pathlib.Path(request.mask), shape, max_pixels=limit)
    return functools.partial(_completed, system, request, *images(system, request), known)


def _completed(
    system: "CategoricalDiffusion",
    request: Completion,
    names: list[str],
    levels: np.ndarray,
    known: np.ndarray,
    variables: Variables,
    number: int,
) -> SampleResult:
    """Several samples of each example, each with a key of its own."""
    S, N, x0 = request.num_samples, len(names), np.asarray(system.to_model(jnp.asarray(levels)))
    key = fold_in(fold_in(fold_in(system.key, RunKey.RESTORE), number), RestorationKey.POSTERIOR)

    @jax.jit
    def compiled(params: Any, guide: Any, keys: Array, labels: Array | None, x0: Array) -> dict[str, Array]:
        predict = system.guide.predict_of(params, guide, labels)
        found = complete(system.sampler, system.process, keys, predict, x0, jnp.asarray(known)[None])
        return {"samples": system.to_data(found.x), "num_evals": found.num_evals}

    def generate(rows: np.ndarray) -> dict[str, Array]:
        keys = jax.vmap(jax.random.fold_in)(keys_at(key, rows // S), rows % S)
        given = system.devices.shard_rows((keys, request.labels_of(rows // S), x0[rows // S]))
        return compiled(variables["params"], system.guide.params, *given)

    found = in_batches(generate, N * S, batch_size(system, N * S))
    samples, top = found["samples"].reshape(N, S, *system.spec.shape), system.spec.num_levels - 1
    values, truth = samples / np.float32(top), levels / np.float32(top)
    measured, mean, deviation = np.where(known[None], truth, 0), values.mean(1), values.std(1)
    arrays = {"samples": samples, "mean": mean, "deviation": deviation, "measurement": measured, "input": truth}
    figures = {"num_images": N, "num_samples": S, "num_evals": found["num_evals"], "names": names}
    figures["metrics"] = quality(values, truth, None)
    picture = restored_table(system.spec, truth, measured, values, mean, deviation)
    return SampleResult(picture, arrays, figures, samples.reshape(N * S, *system.spec.shape))

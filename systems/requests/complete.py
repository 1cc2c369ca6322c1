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
from core.keys import RestorationKey, fold_in, keys_at, restoration_key, sample_keys
from corruption import terms
from corruption.categorical import Absorbing, choose_states
from corruption.schedules import uniform_noise
from data.readers.inputs import read_mask
from data.spec import DataSpec
from likelihood.elbo import elbo, of_known
from sampling.categorical import complete
from systems.requests.base import (
    Input,
    SampleFn,
    SampleResult,
    batch_size,
    images,
    in_batches,
)
from systems.requests.generate import check_labels
from systems.requests.restore import quality, restored_table
from training.objectives.base import Variables

if TYPE_CHECKING:  # systems have tables of their tasks
    from systems.base import System
    from systems.categorical import CategoricalDiffusion

NUM_TIMES = 16  # terms of the bound of each class


@dataclasses.dataclass(frozen=True)
class Completion(Input):
    """`num_samples` of each input that agree with it where it is known.

    `mask`: a file with what is known, which is neither black nor zero; by default all but the middle.
    `infer_class`: samples the class of each by what is known, `p(c | known)`, and the rest given both. Of a model of
    masked categories, by class, where no class is given.
    """

    num_samples: int = 8
    mask: str | None = None
    infer_class: bool = False


def completion(system: "CategoricalDiffusion", request: Completion) -> SampleFn:
    """Samples with known sites. Errors: ValueError for input that does not fit."""
    check_labels(system, request.labels)
    check_inference(system, request)
    return functools.partial(_completed, system, request, *images(system, request), mask_of(system, request))


def check_inference(system: "System", request: Completion) -> None:
    """Errors: ValueError for `infer_class` of a model without masks or classes, or with classes that are given."""
    model = system.config.model
    fits = system.config.system == "categorical" and model.corruption == "absorbing" and model.num_labels
    if request.infer_class and (not fits or request.labels):
        raise ValueError(
            "--request.infer_class samples the class by what is known, but "
            + ("--labels gives it; leave out one of them." if fits else "the model has no masks or no classes.")
        )


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
    found = completions(system, request, known, x0, variables, number)
    return completed(system.spec, names, levels, known, found["samples"], found["num_evals"])


def completions(
    system: "CategoricalDiffusion",
    request: Completion,
    known: np.ndarray,
    x0: np.ndarray,
    variables: Variables,
    number: int,
) -> dict[str, Any]:
    """ "samples" [N, num, ...] that agree with x0 [N, ...] where `known`, each with its own key, and "num_evals"."""
    key = restoration_key(system.key, number, RestorationKey.POSTERIOR)
    num, total = request.num_samples, len(x0) * request.num_samples
    classes = inferred(system, known, x0, num, variables, number) if request.infer_class else None

    @jax.jit
    def compiled(params: Any, guide: Any, keys: Array, labels: Array | None, x0: Array) -> dict[str, Array]:
        predict = system.guide.predict_of(params, guide, labels)
        found = complete(system.sampler, system.process, keys, predict, x0, jnp.asarray(known)[None])
        return {"samples": system.to_data(found.x), "num_evals": found.num_evals}

    def generate(rows: np.ndarray) -> dict[str, Array]:
        keys = sample_keys(key, rows // num, rows % num)
        labels = request.labels_of(rows // num) if classes is None else jnp.asarray(classes[rows])
        given = system.devices.shard_rows((keys, labels, x0[rows // num]))
        return compiled(variables["params"], system.guide.params, *given)

    found = in_batches(generate, total, batch_size(system, total))
    return found | {"samples": found["samples"].reshape(len(x0), num, *system.spec.shape)}


def inferred(
    system: "CategoricalDiffusion", known: np.ndarray, x0: np.ndarray, num: int, variables: Variables, number: int
) -> np.ndarray:
    """Classes [N num] of `num` samples of each x0 [N, ...], from `p(c | known)`, proportional to exp(-bound of known).

    All classes have the same prior probability, and the same noise in their bounds.
    """
    process, num_labels = system.process, system.num_labels
    assert isinstance(process, Absorbing)  # see `check_inference`
    term = terms.continuous(process, uniform_noise(process.schedule))
    key = restoration_key(system.key, number, RestorationKey.CLASS)
    own, of_bound = (fold_in(key, k) for k in range(2))

    @jax.jit
    def bounds(params: Any, keys: Array, x0: Array) -> dict[str, Array]:
        where = jnp.broadcast_to(jnp.asarray(known)[None], x0.shape)

        def nats(label: Array) -> Array:
            predict = system.predict_of(params, {"label": jnp.full(len(x0), label)}, None)
            one = of_known(predict, process, x0, where)
            return elbo(one, process, term, x0, keys, num_times=NUM_TIMES).nats

        found = jax.lax.map(nats, jnp.arange(num_labels))  # [C, B]
        return {"nats": found.T, "num_evals": jnp.int32(NUM_TIMES * num_labels)}

    def bounds_of(rows: np.ndarray) -> dict[str, Array]:
        return bounds(variables["params"], *system.devices.shard_rows((keys_at(of_bound, rows), x0[rows])))

    nats = in_batches(bounds_of, len(x0), batch_size(system, len(x0)), "inferring classes")["nats"]
    rows, samples = np.divmod(np.arange(len(x0) * num), num)
    keys = sample_keys(own, rows, samples)
    return np.asarray(choose_states(keys, jnp.asarray(-nats[rows])))


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

"""Samples without an input: the tasks unconditional and class of the program sample."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from core.keys import RunKey, fold_in, keys_at
from systems.requests.base import Request, RequestTask, SampleFn, SampleResult, batch_size, in_batches
from training.objectives.base import Variables

if TYPE_CHECKING:  # systems have tables of their tasks
    from systems.base import System

GRID = 100  # samples in the grid, where they have no columns


@dataclasses.dataclass(frozen=True)
class Unconditional(Request):
    """A number of samples."""

    num_samples: int = 64


@dataclasses.dataclass(frozen=True)
class ByClass(Request):
    """A number of samples of each of the classes `labels`; of all classes by default."""

    labels: tuple[int, ...] = ()
    num_samples: int = 8


def unconditional(system: "System", request: Unconditional) -> SampleFn:
    """`num_samples` samples of no class; of each class in turn where training never left it out."""
    return functools.partial(generated, system, unasked(system, request.num_samples), request.num_samples, None)


def unasked(system: "System", num: int) -> dict[str, np.ndarray]:
    """What `num` samples are given where nothing is asked for: "no class" must have been trained."""
    model = system.config.model
    if not model.num_labels or model.label_dropout:
        return {}
    return {"label": np.arange(num, dtype=np.int32) % model.num_labels}


def by_class(system: "System", request: ByClass) -> SampleFn:
    """`num_samples` samples of each class asked for. Errors: ValueError for a model without classes."""
    check_labels(system, request.labels)
    if not system.num_labels:
        raise ValueError(
            f"--task=class needs a class-conditional model, which this one is not: {_get_classes(system)}."
        )
    classes = request.labels or tuple(range(system.num_labels))
    labels = np.repeat(np.array(classes, np.int32), request.num_samples)
    return functools.partial(generated, system, {"label": labels}, len(labels), request.num_samples)


def generated(
    system: "System",
    asked: Mapping[str, np.ndarray],
    num: int,
    columns: int | None,
    variables: Variables,
    number: int,
) -> SampleResult:
    """`num` samples for the values `asked` [num, ...] of fields, if any; keys are those of an evaluation's samples."""
    found = samples_for(system, asked, num, variables, number)
    arrays = {"arr_0": found["samples"]} | {"labels" if name == "label" else name: a for name, a in asked.items()}
    limit = GRID if columns is None else num
    figures: dict[str, Any] = {"num_samples": num, "num_evals": found["num_evals"]}
    figures, frames = {**figures, **system.assess(found["samples"])}, []
    if "states" in found:
        arrays["states"] = found["states"]
        frames = [system.picture(states, columns) for states in np.moveaxis(found["states"][:limit], 1, 0)]
    picture = system.picture(found["samples"][:limit], columns)
    return SampleResult(picture, arrays, figures, found["samples"], frames=frames)


def samples_for(
    system: "System", asked: Mapping[str, np.ndarray], num: int, variables: Variables, number: int
) -> dict[str, Any]:
    """ "samples" [num, ...] and "num_evals" for the values `asked` [num, ...] of fields, if any, in batches."""
    assert system.generate is not None  # otherwise the system has no such tasks
    draw = system.generate

    def generate(rows: np.ndarray) -> dict[str, Array]:
        keys = keys_at(fold_in(fold_in(system.key, RunKey.SAMPLE), number), rows)
        values = {name: jnp.asarray(array[rows]) for name, array in asked.items()} or None
        return draw(variables, *system.devices.shard_rows((keys, values)))

    return in_batches(generate, num, batch_size(system, num))


def check_labels(system: "System", labels: Sequence[int], name: str = "--labels") -> None:
    """Errors: ValueError for class labels that the model does not have; `name` is that of what gave them."""
    num = system.num_labels
    for label in labels:
        if not 0 <= label < num:
            known = f"there are the classes 0 to {num - 1}"
            what = known if num else f"this model is not class-conditional: {_get_classes(system)}"
            raise ValueError(f"{name} has the class {label}, but {what}.")


def _get_classes(system: "System") -> str:
    """How to come by a model that knows the classes of these data, as an advice."""
    dataset, num = system.config.data.dataset, system.spec.num_classes
    if num < 2:
        return (
            f"{dataset} has none to learn; give data with classes, such as a folder with a sub-folder for each, and "
            "train again with --config.model.num_labels, their number"
        )
    return (
        f"train again, in another --workdir, with --config.model.num_labels={num}, the classes of {dataset}, or train "
        "a classifier (config.system = 'classifier') and sample with --config.sampling.guidance=classifier and its "
        "folder as --config.sampling.guide_workdir"
    )


UNCONDITIONAL = RequestTask(Unconditional, unconditional)  # of every system that generates samples

"""What the tasks of the program sample share: the request, the result, reading the input, sampling in batches."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from builders.guidance import Asked
from core.arrays import Array
from core.progress import phase
from data.readers.inputs import read_array, read_examples
from data.readers.scans import is_scan
from data.stock import resize_of
from training.objectives.base import Variables

if TYPE_CHECKING:  # systems have tables of their tasks
    from systems.base import System
    from systems.diffusion import Diffusion

TEST = "test:"  # an input "test:3,7" is images 3 and 7 of the test split


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of a task. Its options are the fields of a subclass, with defaults; `task` is the task's name.

    An option is an int, float, bool, str or path, or a tuple of one of them, or None: `--request.NAME=VALUE` sets it.
    """

    task: str

    def __post_init__(self) -> None:
        """Errors: ValueError for a number of samples or a temperature out of range, where there are such options."""
        for name, lowest in (("num_samples", 1), ("temperature", 0)):
            if (value := getattr(self, name, lowest)) < lowest:
                raise ValueError(f"--{name}={value:g} was given, but it must be at least {lowest}.")


class SampleResult(NamedTuple):
    """The outcome of a task: an image to look at, the arrays to keep, and figures for the record and the log.

    `samples`: each of them, [N, ...] in the data's units, for files of their own; None where there are none.
    `tables`: the text of files NAME.csv, by their names. `frames`: images of the states along the way, for a GIF.
    """

    picture: np.ndarray
    arrays: dict[str, np.ndarray]
    figures: dict[str, Any]
    samples: np.ndarray | None = None
    tables: Mapping[str, str] = MappingProxyType({})
    frames: Sequence[np.ndarray] = ()


LabelsOf = Callable[[np.ndarray], Asked]  # what is asked of examples, such as their class labels, by their rows


def without_labels(rows: np.ndarray) -> None:
    """No class labels."""
    return


SampleFn = Callable[[Variables, int], SampleResult]  # (averaged variables, number of the checkpoint)


class RequestTask(NamedTuple):
    """A task of the program sample: the type of its requests, and the function that prepares one.

    `prepare(system, request)` checks everything that the user gave and returns a function, before anything is compiled.
    """

    request: type[Request]
    prepare: Callable[[Any, Any], SampleFn]


@dataclasses.dataclass(frozen=True)
class Input(Request):
    """A request that has an input: a file, a folder, or `test:0,1,2` for images of the test split, and their labels."""

    input: str | None = None
    labels: tuple[int, ...] = ()

    def labels_of(self, rows: np.ndarray) -> Array | None:
        """The class labels of the images `rows`: those of --labels, cycled; None without --labels."""
        return jnp.asarray(np.array(self.labels, np.int32)[rows % len(self.labels)]) if self.labels else None


def input_of(request: Input) -> str:
    """The value of --input. Errors: ValueError where it is missing."""
    if request.input is None:
        raise ValueError(
            f"--task={request.task} needs --input=PATH, a file or a folder, or --input=test:0,1,2 for images of the "
            "test split."
        )
    return request.input


def images(system: "System", request: Input) -> tuple[list[str], np.ndarray]:
    """Names and uint8 levels [N, ...] of the input; float32 values where the data have no levels."""
    given = input_of(request)
    if not given.startswith(TEST):
        if not system.spec.num_levels:
            return _values(system, pathlib.Path(given))
        data = system.config.data
        rule = data.resize or resize_of(data.dataset)
        shape, num_levels = system.spec.shape, system.spec.num_levels
        return read_examples(pathlib.Path(given), shape, num_levels, rule, data.background, data.max_pixels)
    indices = indices_of(system, given)
    return [f"test {index}" for index in indices], system.context.splits.test.fetch(indices)["x"]


def indices_of(system: "System", given: str) -> np.ndarray:
    """The indices [N] of an input such as "test:0,1,2". Errors: ValueError for others than those of the test split."""
    try:
        indices = np.array([int(index) for index in given.removeprefix(TEST).split(",")])
    except ValueError:
        raise ValueError(f"--input={given}: give indices of test images, such as --input=test:0,1,2.") from None
    if indices.min() < 0 or indices.max() >= len(system.context.splits.test):
        raise ValueError(f"--input={given}: test images are numbered from 0 to {len(system.context.splits.test) - 1}.")
    return indices


def _values(system: "System", path: pathlib.Path) -> tuple[list[str], np.ndarray]:
    """Names and values [N, ...] float32 of an array file or a scan. Errors: ValueError for another shape or type."""
    if is_scan(path):
        return read_examples(path, system.spec.shape, 0)
    values = read_array(path)
    values = values[None] if values.ndim == len(system.spec.shape) else values
    if values.shape[1:] != system.spec.shape or not len(values) or not np.issubdtype(values.dtype, np.floating):
        wanted = ", ".join(map(str, system.spec.shape))
        raise ValueError(f"{path} holds {values.dtype} {values.shape}, but floats [N, {wanted}] are needed.")
    return [f"{path.stem} {index}" for index in range(len(values))], values.astype(np.float32)


def to_network(system: "Diffusion", levels: np.ndarray) -> np.ndarray:
    """Levels scaled to the network's range; see `builders.data.to_model`."""
    return np.asarray(system.to_model(jnp.asarray(levels)))


def to_unit(system: "Diffusion", x: np.ndarray) -> np.ndarray:
    """Values in the network's range, mapped to [0, 1]."""
    return 0.5 * (x + 1) if system.config.data.centered else x


def to_levels(system: "Diffusion", x: np.ndarray) -> np.ndarray:
    """The levels, uint8, of values in the network's range; in data units where the data have no levels."""
    return np.asarray(system.to_data(jnp.asarray(x)))


def batch_size(system: "System", num: int) -> int:
    """The batch size for `num` samples."""
    return system.devices.round_up(min(num, system.config.eval.batch_size))


def in_batches(generate: Callable[[np.ndarray], Any], num: int, size: int, name: str = "sampling") -> dict[str, Any]:
    """`generate(rows [size])` for rows 0 ... num - 1, padding dropped; "num_evals" is the mean over the batches.

    name: of what is done, for the console.
    """
    parts, evaluations = [], []
    with phase(name, num, "example") as shown:
        for start in range(0, num, size):
            rows = np.arange(start, start + size)
            batch = {k: np.asarray(v) for k, v in jax.device_get(generate(np.minimum(rows, num - 1))).items()}
            evaluations.append(float(batch.pop("num_evals")))
            parts.append({k: v[: num - start] for k, v in batch.items()})
            shown.advance(min(size, num - start))
    return {k: np.concatenate([part[k] for part in parts]) for k in parts[0]} | {
        "num_evals": float(np.mean(evaluations))
    }

"""Segmentation by a model of masks that is conditioned on an image: the task segment of the program sample."""

import dataclasses
import functools
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from builders.condition import conditions
from configs.conditions import Condition
from core.keys import RestorationKey, restoration_key, sample_keys
from data.readers.inputs import read_examples
from data.source import Examples
from evaluation.tasks.segmentation import spread
from reports.sheets import sample_grid, with_headings
from systems.requests.base import TEST, Input, SampleFn, SampleResult, batch_size, in_batches, indices_of, input_of
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.diffusion import Diffusion

SHOWN = 4  # masks of an image in the grid


@dataclasses.dataclass(frozen=True)
class Segment(Input):
    """`num_samples` masks of each image."""

    num_samples: int = 8


def image_of(system: "Diffusion", what: str) -> Condition:
    """The image on which a model of masks is conditioned. Errors: ValueError for any other model."""
    config, spec = system.config, system.spec
    found = [c for c in conditions(config) if c.entry == "concat"]
    if spec.num_levels != 2 or len(found) != 1 or len(spec.shape) != 3:
        raise ValueError(
            f"{what} is for images of two levels that are conditioned on one image, as in "
            f"--config.model.conditions=\"('image:concat',)\", but {config.data.dataset} has examples of {spec.shape} "
            f"with {spec.num_levels} levels, and config.model.conditions = {tuple(config.model.conditions)}; train "
            "another model."
        )
    return found[0]


def segment(system: "Diffusion", request: Segment) -> SampleFn:
    """An ensemble of masks for each image, and how much it agrees. Errors: ValueError for input that does not fit."""
    image = image_of(system, f"--task={request.task}")
    given = input_of(request)
    if given.startswith(TEST):
        indices = indices_of(system, given)
        names, values = [f"test {index}" for index in indices], system.context.splits.test.fetch(indices)[image.name]
    else:
        data = system.config.data
        assert image.shape is not None  # see `conditions`
        names, values = read_examples(
            pathlib.Path(given), image.shape, image.num_values, data.resize, data.background, data.max_pixels
        )
    return functools.partial(_segmented, system, request, names, image, values)


def ensemble(
    system: "Diffusion", variables: Variables, number: int, given: Examples, num: int, index: np.ndarray
) -> np.ndarray:
    """`num` samples of each example [N, num, ...], in levels, given values of fields; index: as of `Posterior`."""
    N = len(index)
    key = restoration_key(system.key, number, RestorationKey.POSTERIOR)
    assert system.generate is not None  # score models sample
    draw = system.generate

    def generate(rows: np.ndarray) -> dict[str, Any]:
        keys = sample_keys(key, index[rows // num], rows % num)
        keys, asked = system.devices.shard_rows((keys, {name: values[rows // num] for name, values in given.items()}))
        return draw(variables, keys, asked)

    found = in_batches(generate, N * num, batch_size(system, N * num))["samples"]
    return np.asarray(found).reshape(N, num, *system.spec.shape)


def _segmented(
    system: "Diffusion",
    request: Segment,
    names: list[str],
    image: Condition,
    values: np.ndarray,
    variables: Variables,
    number: int,
) -> SampleResult:
    masks = ensemble(system, variables, number, {image.name: values}, request.num_samples, np.arange(len(values)))
    agreement = (masks > 0).mean(axis=1)
    deviation = spread(agreement)
    arrays = {"input": values, "samples": masks, "agreement": agreement, "deviation": deviation}
    figures = {"names": names, "num_samples": request.num_samples, "pixels": (agreement > 0.5).sum(axis=(1, 2, 3))}
    low, high = float(values.min()), float(values.max())
    columns = [(values[..., :1] - low) / max(high - low, 1e-12), *np.moveaxis(masks[:, :SHOWN], 1, 0), agreement]
    columns.append(deviation / 0.5)  # white: half of the masks
    cells = np.stack(columns, axis=1).reshape(-1, *system.spec.shape)
    picture = sample_grid(np.round(255 * np.clip(cells, 0, 1)).astype(np.uint8), 256, len(columns))
    headings = ["image", *(f"mask {k + 1}" for k in range(len(columns) - 3)), "agreement", "deviation"]
    return SampleResult(with_headings(picture, headings), arrays, figures)

"""Examples of a user's own as starts: the task edit of the program sample."""

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from builders import inverse
from builders.sampler import from_time
from sampling.noised import time_of_noise
from systems.requests.base import Input, SampleFn, SampleResult, images, to_levels, to_network
from systems.requests.generate import check_labels
from systems.requests.posterior import posterior_samples
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.diffusion import Diffusion


@dataclasses.dataclass(frozen=True)
class Edit(Input):
    """`num_samples` of each input. `noise_std`: of what is added to it, for data in [0, 1], or in the data's units."""

    num_samples: int = 8
    noise_std: float = 0.5


def edit(system: "Diffusion", request: Edit) -> SampleFn:
    """Samples that start at an example with noise: the less of it, the more they are like the example.

    x = mean_coeff(t) x_given + std(t) z,   std(t) / mean_coeff(t) = noise_std,   and all steps from there to the data

    Errors: ValueError for noise that the process never has, and for input that does not fit.
    Source: Meng et al., "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations", ICLR 2022.
    """
    check_labels(system, request.labels)
    noise_std = request.noise_std * inverse.width(system.config, system.spec.num_levels)
    sampler = from_time(system.config, system.sampler, time_of_noise(system.sde, noise_std))
    posterior = inverse.from_noise(system.sde, sampler, noise_std, has_noise=False)
    names, levels = images(system, request)
    return functools.partial(_edited, system, request, posterior, names, to_network(system, levels))


def _edited(
    system: "Diffusion",
    request: Edit,
    sampler: inverse.PosteriorSampler,
    names: list[str],
    x: np.ndarray,
    variables: Variables,
    number: int,
) -> SampleResult:
    """A row per example: the example itself and its samples."""
    num, operator = request.num_samples, inverse.identity(system.spec.shape)
    found = posterior_samples(system, sampler, operator, x, num, variables, number, request.labels_of)
    shape = system.spec.shape
    samples = to_levels(system, found["samples"].reshape(len(x) * num, *shape))
    given = to_levels(system, x)
    cells = np.concatenate([given[:, None], samples.reshape(len(x), num, *shape)], axis=1)
    figures = {"names": names, "num_samples": num, "num_evals": found["num_evals"]}
    arrays = {"arr_0": samples, "input": given}
    return SampleResult(system.picture(cells.reshape(-1, *shape), 1 + num), arrays, figures, samples)

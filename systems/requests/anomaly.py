"""What a model of healthy examples does not explain: the task anomaly of the program sample."""

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from builders import inverse
from reports.sheets import sample_grid, with_headings
from systems.requests.base import Input, SampleFn, SampleResult, images, to_network
from systems.requests.generate import check_labels
from systems.requests.measurements import values_of
from systems.requests.posterior import posterior_samples
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.diffusion import Diffusion

LARGEST = 0.01  # share of the map whose mean is the score of an example


@dataclasses.dataclass(frozen=True)
class Anomaly(Input):
    """`noise_std`: of the noise added, for data in [0, 1]: what it hides is sampled anew. `num_samples`: of each."""

    num_samples: int = 4
    noise_std: float = 0.3


def anomaly(system: "Diffusion", request: Anomaly) -> SampleFn:
    """Maps of |x - x'|, x' the mean of samples from x with noise. Errors: ValueError for input that does not fit.

    Source: Wyatt et al., "AnoDDPM: Anomaly Detection with Denoising Diffusion Probabilistic Models using Simplex
    Noise", CVPR workshops 2022.
    """
    check_labels(system, request.labels)
    noise_std = request.noise_std * inverse.width(system.config, system.spec.num_levels)
    sampler = inverse.from_noise(system.sde, system.sampler, noise_std, has_noise=False)
    names, levels = images(system, request)
    return functools.partial(_compared, system, request, names, to_network(system, levels), sampler)


def _compared(
    system: "Diffusion",
    request: Anomaly,
    names: list[str],
    x: np.ndarray,
    sampler: inverse.PosteriorSampler,
    variables: Variables,
    number: int,
) -> SampleResult:
    operator = inverse.identity(system.spec.shape)
    found = posterior_samples(system, sampler, operator, x, request.num_samples, variables, number, request.labels_of)
    given, samples = values_of(system, x), values_of(system, found["samples"])
    healthy = samples.mean(1)
    maps = difference(given, healthy)
    scores = score(maps)
    figures = {"names": names, "score": scores, "score_over_images": float(scores.mean())}
    figures |= {"num_samples": request.num_samples, "num_evals": found["num_evals"]}
    arrays = {"input": given, "healthy": healthy, "map": maps, "score": scores}
    return SampleResult(_picture(system, given, healthy, maps), arrays, figures)


def difference(x: np.ndarray, healthy: np.ndarray) -> np.ndarray:
    """|x - healthy|, the mean over channels: [N, *sides], or [N, D] of vectors."""
    return np.abs(x - healthy).mean(-1) if x.ndim > 2 else np.abs(x - healthy)


def score(maps: np.ndarray) -> np.ndarray:
    """The mean of the largest hundredth of each map [N, ...], at least of one value: [N]."""
    flat = np.sort(maps.reshape(len(maps), -1), axis=1)
    return flat[:, -max(round(LARGEST * flat.shape[1]), 1) :].mean(1)


def _picture(system: "Diffusion", given: np.ndarray, healthy: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """A row per example: input, healthy, map (white: the largest of all)."""
    shape = system.spec.shape
    low, high = (0.0, 1.0) if system.spec.num_levels else (float(given.min()), float(given.max()))
    columns = [(values - low) / max(high - low, 1e-12) for values in (given, healthy)]
    scaled = maps / max(float(maps.max()), 1e-12)
    columns.append(np.broadcast_to(scaled[..., None] if given.ndim > 2 else scaled, given.shape))
    cells = np.stack(columns, axis=1).reshape(-1, *shape, *(1,) * (len(shape) == 1))
    images, names = np.round(255 * np.clip(cells, 0, 1)).astype(np.uint8), ["input", "healthy", "map"]
    picture = sample_grid(images, 256, len(names) if len(shape) < 4 else 1)
    return with_headings(picture, names) if len(shape) < 4 else with_headings(picture, names * len(given), down=True)

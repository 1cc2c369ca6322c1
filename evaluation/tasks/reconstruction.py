"""The task that compares reconstructions of the examples of a data set, and other methods', with the truth."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluation.metrics.base import mean_over_examples
from evaluation.metrics.intervals import coverage
from evaluation.metrics.nmse import nmse
from evaluation.metrics.phase import magnitude, phase_error
from evaluation.metrics.psnr import psnr_db
from evaluation.metrics.ssim import ssim
from evaluation.rounds import Arrays, Task, check_coverage, join
from evaluation.tasks.per_example import Fetch
from reports.records import Better, Column

HEADINGS: dict[str, tuple[str, Better | None]] = {
    "psnr": ("PSNR / dB", "higher"),
    "ssim": ("SSIM", "higher"),
    "nmse": ("NMSE", "lower"),
    "phase_error": ("phase error / rad", "lower"),
    "interval_coverage": ("90% interval covers", None),
    "residual_max": ("largest residual", "lower"),
}
BETWEEN = "__"  # a method and a figure, in the files


class Reconstructed(NamedTuple):
    """Samples of the posterior and the truth, in the units of the data, and what else is found.

    samples: [B, S, *shape]. truth: [B, *shape]. residual: the largest of each example, [B]. others: reconstructions
    [B, *shape] by other methods, by their names.
    """

    samples: np.ndarray
    truth: np.ndarray
    residual: np.ndarray
    others: Mapping[str, np.ndarray]


def reconstruction_task(
    num_examples: int,
    batch_size: int,
    fetch: Fetch,
    reconstruct: Callable[[dict[str, Any]], Reconstructed],
    others: Sequence[str],
    *,
    value_range: float | None = None,
    is_complex: bool = False,
    has_sides: bool = True,
    has_interval: bool = True,
) -> Task:
    """Figures of the mean of the samples, and of each of the `others`, over all examples, with standard errors.

    PSNR, NMSE and the largest residual; SSIM, where examples have sides (`has_sides`, not vectors); how often the 90%
    interval of the samples contains the truth (`has_interval`, for several samples). value_range: None for data in
    [0, 1]. is_complex: whether the two channels are a real and an imaginary part; PSNR and SSIM are then those of
    magnitudes, and there is the error of the phase. The files keep the figures of each example. Errors: ValueError if
    rounds do not belong to `num_examples` and `batch_size`.
    """

    def figures(found: np.ndarray, truth: np.ndarray) -> Arrays:
        shown, true = (magnitude(found), magnitude(truth)) if is_complex else (found, truth)
        values = {"psnr": psnr_db(shown, true, value_range), "nmse": nmse(found, truth)}
        if has_sides:
            values["ssim"] = ssim(shown, true, value_range)
        if is_complex:
            values["phase_error"] = phase_error(found, truth)
        return values

    def run(round_number: int) -> Arrays:
        batch = dict(fetch(round_number))
        counted = np.asarray(batch["counted"]) > 0
        samples, truth, residual, rest = reconstruct(batch)
        arrays = figures(samples.mean(axis=1), truth) | {"residual_max": residual}
        if has_interval:
            arrays["interval_coverage"] = coverage(samples, truth)
        for name in others:
            arrays |= {f"{name}{BETWEEN}{key}": values for key, values in figures(rest[name], truth).items()}
        return {"index": np.asarray(batch["index"])[counted]} | {key: v[counted] for key, v in arrays.items()}

    def summarize(rounds: Sequence[Arrays]) -> dict[str, Any]:
        joined = join(rounds)
        check_coverage("reconstruction", joined.pop("index"), num_examples)
        found: dict[str, Any] = {}
        for key, values in joined.items():
            *method, figure = key.split(BETWEEN)
            place = found.setdefault(method[0], {}) if method else found
            place[figure] = mean_over_examples(values).to_dict()
        return found

    shown = ["psnr", *(["ssim"] if has_sides else []), "nmse", *(["phase_error"] if is_complex else [])]
    own = [*shown, *(["interval_coverage"] if has_interval else []), "residual_max"]
    columns = [_column(key, *HEADINGS[key]) for key in own]
    for name in others:
        columns += [_column(f"{name}.{key}", f"{HEADINGS[key][0]}, {_words(name)}", HEADINGS[key][1]) for key in shown]
    return Task("reconstruction", -(-num_examples // batch_size), run, summarize, tuple(columns))


def _column(path: str, heading: str, better: Better | None) -> Column:
    return Column(f"{path}.value", heading, better, error=f"{path}.error")


def _words(name: str) -> str:
    return name.replace("_", " ")

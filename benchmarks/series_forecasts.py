"""Forecasts and imputations of a trained model of series, beside baselines: one checkpoint, several ways of asking.

    python -m benchmarks.series_forecasts WORKDIR --series elnino [--samples 100] [--ways NAME ...]

The test windows are forecast from their context; with `--task random` or `block`, half of the values, or a block of a
quarter in the middle, are missing instead. Prints a Markdown table as `benchmarks.series_baselines` does. Baselines of
missing values are linear interpolation, and the mean of the values one season before and after.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

import run_lib
from benchmarks.series_baselines import HEADINGS, PROBLEMS, Windows, row, windows
from data.readers.windows import INCLUDED
from evaluation.forecast_baselines import Forecaster, all_forecasts, imputations
from sampling.inverse.operators.mask import mask

# Changes of a config, as `section.key`.
WAYS: dict[str, dict[str, Any]] = {
    **{
        f"{loss.replace('_', ' ')}, scale {scale:g}": {
            "restore.method": "self_guidance",
            "restore.observation_loss": loss,
            "restore.observation_scale": scale,
        }
        for loss, scales in (("mean_square", (0.5, 1.0, 2.0)), ("quantile", (2.0, 4.0, 8.0)))
        for scale in scales
    },
    "replacement": {"restore.method": "projection"},
    "replacement, 1 Langevin": {
        "restore.method": "projection", "sampling.corrector": "ald", "sampling.snr": 0.316,
        "sampling.n_steps_each": 1,
    },
    "replacement, 4 Langevin": {
        "restore.method": "projection", "sampling.corrector": "ald", "sampling.snr": 0.316,
        "sampling.n_steps_each": 4,
    },
    "Pi-GDM": {"restore.method": "pigdm"},
}  # fmt: skip


def known_of(task: str, length: int, horizon: int) -> np.ndarray:
    """Which values of a window are observed, bool [length]."""
    known = np.ones(length, bool)
    if task == "forecast":
        known[-horizon:] = False
    elif task == "block":
        known[3 * length // 8 : 5 * length // 8] = False
    else:
        known[np.random.default_rng(0).permutation(length)[: length // 2]] = False
    return known


def samples_of(workdir: str, way: dict[str, Any], found: np.ndarray, known: np.ndarray, horizon: int, num: int) -> Any:
    """Samples [N, num, missing] of windows `found` [N, L], scaled by what is known of their context."""
    model = run_lib.load(workdir, settings=way)
    offset, factor = model.config.data.offset, model.config.data.scale
    context = found[:, :-horizon][:, known[:-horizon]]
    scale = np.abs(context).mean(axis=1, keepdims=True)
    y = np.where(known, (found / scale - offset) / factor, 0.0).astype(np.float32)[..., None]
    operator = mask(y.shape[1:], known[None, :, None])
    x = model.restore(operator, y, num=num, prior_variance=1.0)[..., 0]
    return x[..., ~known] * scale[:, None]


def table(workdir: str, name: str, task: str, ways: list[str], num: int, write: Callable[[str], None]) -> None:
    """Writes the lines of the table."""
    problem, split = PROBLEMS[name], windows(name)
    found = np.concatenate([split.context, np.nan_to_num(split.future)], axis=1)
    known = known_of(task, found.shape[1], problem.horizon)
    truth = np.concatenate([split.context, split.future], axis=1)[:, ~known]
    write(f"{name}, {task}, {len(found)} windows\n\n{HEADINGS}\n|{' --- |' * 6}")
    for label, samples in _baselines(split, found, known, task, name, num).items():
        write(row(label, samples, truth))
    for label in ways:
        write(row(label, samples_of(workdir, WAYS[label], found, known, problem.horizon, num), truth))


def _baselines(
    split: Windows, found: np.ndarray, known: np.ndarray, task: str, name: str, num: int
) -> dict[str, np.ndarray]:
    problem = PROBLEMS[name]
    if task != "forecast":
        filled = imputations(np.where(known, found, np.nan), problem.season)
        return {label.replace("_", " "): values[:, None, ~known] for label, values in filled.items()}
    return all_forecasts(Forecaster(split.train, problem.horizon, problem.season), split.context, num)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir")
    parser.add_argument("--series", choices=INCLUDED, default="elnino")
    parser.add_argument("--task", choices=["forecast", "random", "block"], default="forecast")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, metavar="NAME", help="; ".join(WAYS))
    arguments = parser.parse_args()
    table(
        arguments.workdir,
        arguments.series,
        arguments.task,
        arguments.ways,
        arguments.samples,
        lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    main()

"""Forecasts of the included series without a model: the scores of baselines, for docs/series.md.

    python -m benchmarks.series_baselines [--series elnino co2 sunspots] [--samples 2000]

The last quarter of each series is forecast from the values before it, one window after the other. Prints a Markdown
table for each series: the weighted quantile loss and the CRPS with standard errors over windows, the normalized
deviation, and the shares of values in the central intervals that should hold 50% and 90% of them.
"""

import argparse
from typing import NamedTuple

import numpy as np

from data.readers.windows import INCLUDED, open_series
from data.source import Reading
from evaluation.forecast_baselines import Forecaster, all_forecasts
from evaluation.metrics import forecasts
from evaluation.metrics.crps import crps

HEADINGS = "| forecast | quantile loss | CRPS | normalized deviation | 50% interval | 90% interval |"


class Problem(NamedTuple):
    """Lengths of the context and the horizon, and of a season."""

    context: int
    horizon: int
    season: int


PROBLEMS = {
    "elnino": Problem(48, 12, 12),
    "co2": Problem(208, 52, 52),
    "sunspots": Problem(22, 22, 11),
    "nile": Problem(24, 6, 1),
}


class Windows(NamedTuple):
    """Windows of the train split [n, L], and the contexts [N, T] and futures [N, H] of the test split, in data units.

    Missing values are interpolated, except in the futures, where they are NaN.
    """

    train: np.ndarray
    context: np.ndarray
    future: np.ndarray


def windows(name: str) -> Windows:
    """The windows of an included series."""
    problem = PROBLEMS[name]
    reading = Reading(shape=(problem.context + problem.horizon, 1), horizon=problem.horizon)
    found = []
    for split in ("train", "test"):
        source = open_series(name, split, reading)
        batch = source.fetch(np.arange(len(source)))
        found.append((batch["x"] * batch["scale"][:, None], batch["x_mask"] != 0))
    (train, _), (test, known) = found
    test = np.where(known | (np.arange(test.shape[1]) < problem.context)[None, :, None], test, np.nan)
    return Windows(
        *(part[..., 0].astype(np.float64) for part in (train, test[:, : problem.context], test[:, problem.context :]))
    )


def row(label: str, samples: np.ndarray, truth: np.ndarray) -> str:
    """A line of the table: scores of samples [N, S, H]; a forecast of one sample is a point."""
    loss, score = forecasts.quantile_loss(samples, truth), np.nanmean(_crps(samples, truth), axis=1)
    cells = [f"{part.mean():.4f} ± {part.std(ddof=1) / len(part) ** 0.5:.4f}" for part in (loss, score)]
    cells.append(f"{forecasts.deviation(samples, truth).mean():.4f}")
    shares = [forecasts.coverage(samples, truth, share).mean() for share in (0.5, 0.9)]
    cells += [f"{share:.0%}" if samples.shape[1] > 1 else "" for share in shares]
    return f"| {label} | {' | '.join(cells)} |"


def _crps(samples: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The CRPS of each value, [N, H]; of a point forecast its absolute error; NaN where the truth is missing."""
    if samples.shape[1] == 1:
        return np.abs(samples[:, 0] - truth)
    return np.where(np.isnan(truth), np.nan, crps(samples, np.nan_to_num(truth))[0])


def main() -> None:
    """Prints a table for each series."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", nargs="+", default=["elnino", "co2", "sunspots"], choices=INCLUDED)
    parser.add_argument("--samples", type=int, default=2000, help="samples of each bootstrap")
    arguments = parser.parse_args()
    for name in arguments.series:
        problem, found = PROBLEMS[name], windows(name)
        forecaster = Forecaster(found.train, problem.horizon, problem.season)
        print(f"{name}, {problem.context} -> {problem.horizon}, {len(found.future)} windows\n")
        print(HEADINGS + "\n|" + " --- |" * 6)
        for label, samples in all_forecasts(forecaster, found.context, arguments.samples).items():
            print(row(label, samples, found.future))
        print()


if __name__ == "__main__":
    main()

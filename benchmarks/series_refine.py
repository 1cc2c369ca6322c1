"""Forecasts without a model, refined by a trained one: the CRPS before and after.

    python -m benchmarks.series_refine WORKDIR [--series elnino] [--samples 50] [--weight 0.1 1] [--temperature 0]

The test windows are forecast by the baselines of `benchmarks.series_baselines`, and each sample is refined by the task
`refine` with its default settings, or other weights of the pull. A point is refined into as many samples. Prints a
Markdown table: CRPS with standard errors over windows, and their change.
"""

import argparse
import pathlib

import numpy as np

from benchmarks.series_baselines import PROBLEMS, windows
from data.readers.windows import INCLUDED
from evaluation.forecast_baselines import Forecaster, all_forecasts
from evaluation.metrics.crps import crps
from programs import restore_run
from programs.run import Run
from systems.diffusion import Diffusion
from systems.requests.base import to_levels, to_network
from systems.requests.refine import Refinement, refined

BASES = ("seasonal naive", "seasonal naive, bootstrap", "ridge", "ridge, bootstrap")


def score(samples: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The CRPS of each window, [N], of samples [N, S, H]; of a point its absolute error."""
    if samples.shape[1] == 1 or not np.ptp(samples, axis=1).any():
        return np.nanmean(np.abs(samples[:, 0] - truth), axis=1)
    return np.nanmean(np.where(np.isnan(truth), np.nan, crps(samples, np.nan_to_num(truth))[0]), axis=1)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=pathlib.Path)
    parser.add_argument("--series", choices=INCLUDED, default="elnino")
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--weight", type=float, nargs="+", default=[Refinement.weight])
    parser.add_argument("--temperature", type=float, default=Refinement.temperature)
    arguments = parser.parse_args()
    number, config, spec = restore_run.about(arguments.workdir, None)
    run = Run(config, arguments.workdir, spec=spec)
    system, variables = run.system, run.restore(number).variables
    assert isinstance(system, Diffusion)
    problem, found = PROBLEMS[arguments.series], windows(arguments.series)
    num, scale = arguments.samples, np.abs(found.context).mean(axis=1)[:, None, None]
    known = np.broadcast_to(np.arange(config.data.shape[0]) < problem.context, (len(scale), config.data.shape[0]))
    forecaster = Forecaster(found.train, problem.horizon, problem.season)
    print("| forecast | CRPS | weight | refined | change |\n| --- | --- | --- | --- | --- |")
    for name, base in all_forecasts(forecaster, found.context, num).items():
        if name not in BASES:
            continue
        before = score(base, found.future)
        repeated = np.repeat(base, num // base.shape[1], axis=1)
        whole = np.concatenate([np.repeat(found.context[:, None], num, axis=1), repeated], axis=2) / scale
        x = to_network(system, whole[..., None].astype(np.float32))
        for weight in arguments.weight:
            request = Refinement("refine", num_samples=num, weight=weight, temperature=arguments.temperature)
            samples = refined(system, request, x, known[..., None], variables, number)["samples"]
            after = score(to_levels(system, samples)[..., problem.context :, 0] * scale, found.future)
            cells = [f"{each.mean():.3f} ± {each.std(ddof=1) / len(each) ** 0.5:.3f}" for each in (before, after)]
            change = f"{after.mean() / before.mean() - 1:+.0%}"
            print(f"| {name} | {cells[0]} | {weight:g} | {cells[1]} | {change} |", flush=True)


if __name__ == "__main__":
    main()

"""How good samples are that take few calls of the network: the sliced Wasserstein distance to the data, run by run.

    python -m benchmarks.few_steps RUN... [--calls 1 2 4 8 20] [--num=2000] [--own]

A RUN is the workdir of a diffusion model. One with average velocities (`model.second_time`) is sampled by the method of
its config, any other by Euler's and Heun's rule in equal steps and by `unipc_2`, each with that many calls and without
a last call for the posterior mean. With --own, every run is sampled only as its config says. Distances are of pixels in
[0, 1], to all examples of the training split; the same of as many held-out ones comes first, which a perfect model
would reach. Prints a table in Markdown.
"""

import argparse
import pathlib
from typing import Any

import numpy as np

from evaluation.features.pixels import pixels
from evaluation.metrics.sliced_wasserstein import sliced_wasserstein
from programs import restore_run
from programs.model import load
from programs.run import Run
from runtime import malloc

# Of a model without average velocities: settings, and calls of a step.
SAMPLERS: dict[str, tuple[dict[str, Any], int]] = {
    "Euler": ({"sampling.method": "pc", "sampling.predictor": "ddim", "sampling.grid": "uniform"}, 1),
    "Heun": ({"sampling.method": "pc", "sampling.predictor": "straight_heun", "sampling.grid": "uniform"}, 2),
    "unipc_2": ({"sampling.method": "solver", "sampling.solver": "unipc_2"}, 1),
}


def ways(workdir: pathlib.Path) -> dict[str, tuple[dict[str, Any], int]]:
    """The samplers of a run by name."""
    config = restore_run.about(workdir).config
    if config.model.second_time:
        return {config.sampling.method: ({}, 1)}
    return {
        name: ({**settings, "sampling.noise_removal": False}, calls) for name, (settings, calls) in SAMPLERS.items()
    }


def flat(images: np.ndarray, num_levels: int) -> np.ndarray:
    """Pixels as features."""
    return pixels(num_levels).extract(images)["features"]


def main() -> None:
    """Samples, compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="workdirs")
    parser.add_argument("--calls", nargs="+", type=int, default=[1, 2, 4, 8, 20], help="calls of the network")
    parser.add_argument("--num", type=int, default=2000, help="samples")
    parser.add_argument("--own", action="store_true", help="only as the configs say")
    given = parser.parse_args()
    runs = [pathlib.Path(name) for name in given.runs]
    splits = Run.of_checkpoint(restore_run.about(runs[0]).config, runs[0]).splits
    train, test = (splits.named(name) for name in ("train", "test"))
    real, held_out = (flat(s.fetch(np.arange(len(s)))["x"], s.num_levels) for s in (train, test))

    def distance(samples: np.ndarray) -> str:
        return f"{sliced_wasserstein(flat(samples, train.num_levels), real).value:.4f}"

    print(f"held-out examples: {sliced_wasserstein(held_out, real).value:.4f}\n")
    if given.own:
        print("| run | distance |\n| --- | --- |")
        for workdir in runs:
            print(f"| {workdir.name} | {distance(load(workdir).sample(given.num))} |", flush=True)
        return
    print("| run | sampler |", " | ".join(map(str, given.calls)), "|")
    print("| --- | --- |" + " --- |" * len(given.calls))
    for workdir in runs:
        for name, (settings, calls_of_step) in ways(workdir).items():
            model, cells = load(workdir, settings=settings), []
            for calls in given.calls:
                fits = calls % calls_of_step == 0
                cells.append(distance(model.sample(given.num, steps=calls // calls_of_step)) if fits else "-")
            print(f"| {workdir.name} | {name} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    malloc.configure()
    main()

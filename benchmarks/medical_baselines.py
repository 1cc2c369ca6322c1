"""Reconstructions of phantoms without a score model, to compare with: PSNR in decibels over test phantoms.

    python -m benchmarks.medical_baselines [--train 3000] [--test 40] [--problems NAMES]

The measurements are those of the task reconstruct, without noise: random lines in frequency at an acceleration of 4 or
8, with the lowest 8% or 4% always among them, and tomography with 20 or 10 views. `zero-filled` has zeros for what
is not measured; `filtered back projection` is that of scikit-image; `total variation` minimizes the squared residual
plus a multiple of the total variation; `PCA-LMMSE` is the linear estimate of least error for the mean and the principal
components of the training phantoms, made to agree with the measurement where that has singular values. Weights and
numbers of components are those that are best for training phantoms which are held out. Prints JSON lines.
"""

import argparse
import json
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from data.stock import load
from evaluation.metrics.psnr import psnr_db
from sampling.inverse.classical import Prior, best_lmmse, best_total_variation, direct, principal_components
from sampling.inverse.operators.base import LinearOperator
from sampling.inverse.operators.fourier import fourier
from sampling.inverse.operators.patterns import random_lines
from sampling.inverse.operators.radon import Radon, radon

SHAPE = (64, 64, 1)
PROBLEMS: dict[str, Callable[[], LinearOperator]] = {
    "MRI, 4x": lambda: fourier(SHAPE, random_lines(SHAPE[:-1], 1 / 4, 0.08)),
    "MRI, 8x": lambda: fourier(SHAPE, random_lines(SHAPE[:-1], 1 / 8, 0.04)),
    "CT, 20 views": lambda: radon(SHAPE, 20),
    "CT, 10 views": lambda: radon(SHAPE, 10),
}
HELD_OUT, FEW = 40, 8  # training phantoms by which components, and the weight of the total variation, are chosen


def figures(name: str, train: np.ndarray, test: np.ndarray, prior: Prior) -> dict[str, float]:
    """The mean PSNR by method."""
    operator, held_out = PROBLEMS[name](), train[-HELD_OUT:]
    y = operator.measure(jnp.asarray(test))
    smooth, linear = best_total_variation(operator, held_out[:FEW]), best_lmmse(operator, prior, held_out)

    def quality(found: np.ndarray) -> float:
        return float(psnr_db(found, test).mean())

    first = "filtered back projection" if isinstance(operator, Radon) else "zero-filled"
    return {
        first: quality(direct(operator, y)),
        "total variation": quality(smooth(operator, y)),
        "PCA-LMMSE": quality(linear(operator, y)),
        "weight": smooth.weight,
        "components": len(linear.prior.variances),
    }


def phantoms(split: str, num: int) -> np.ndarray:
    """The first `num` phantoms of a split, [N, *SHAPE] in [0, 1]."""
    source = load("phantoms", split)
    levels = source.fetch(np.arange(min(num, len(source))))["x"]
    return levels.astype(np.float32) / (source.num_levels - 1)


def main() -> None:
    """Prints one line per problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=3000)
    parser.add_argument("--test", type=int, default=40)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=PROBLEMS, metavar="NAME")
    given = parser.parse_args()
    train, test = phantoms("train", given.train), phantoms("test", given.test)
    prior = principal_components(train[:-HELD_OUT])
    for name in given.problems:
        found = {key: round(value, 4) for key, value in figures(name, train, test, prior).items()}
        print(json.dumps({"problem": name} | found), flush=True)


if __name__ == "__main__":
    main()

"""Bits/dim of Gaussian mixtures on the digits, with the same data split, dequantization, and formula as the models.

    python -m benchmarks.digits_baselines [--components 1 5 10 20 30] [--data_dir=DIR]

The mixtures have full, regularized covariances. For each number of components, the regularization with the best result
on the test split itself is reported, which favors the baseline. Prints JSON lines.
"""

import argparse
import json
import math

import numpy as np
from sklearn.mixture import GaussianMixture

from data.stock import Source, load

COMPONENTS = (1, 5, 10, 20, 30)


def dequantized(source: Source, rng: np.random.Generator) -> np.ndarray:
    """All images with uniform dequantization, [N, 64] in [-1, 1]."""
    levels = source.fetch(np.arange(source.num_examples))["x"].reshape(source.num_examples, -1)
    return 2 * (levels + rng.uniform(size=levels.shape)) / source.num_levels - 1


def main() -> None:
    """Fits the mixtures and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--components", type=int, nargs="+", default=COMPONENTS, help="numbers of components")
    parser.add_argument("--data_dir", help="the TFDS data directory")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    sources = load("digits", "train", arguments.data_dir), load("digits", "test", arguments.data_dir)
    # Several dequantized copies of each training image approximate the density of the dequantized data.
    train, test = np.concatenate([dequantized(sources[0], rng) for _ in range(8)]), dequantized(sources[1], rng)
    num_dims, num_levels = train.shape[1], sources[0].num_levels
    for components in arguments.components:
        best = math.inf
        for strength in (1e-4, 1e-3, 3e-3, 1e-2):
            mixture = GaussianMixture(components, reg_covar=strength, random_state=0, max_iter=50).fit(train)
            bits = -mixture.score(test) / (num_dims * math.log(2)) + math.log2(num_levels) - 1
            best = min(best, bits)
        print(json.dumps({"components": components, "test_bits_per_dim": round(best, 3)}), flush=True)


if __name__ == "__main__":
    main()

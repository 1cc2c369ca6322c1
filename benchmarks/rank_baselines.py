"""Baselines for the built-in time series, volumes, and vectors: the likelihood of simple densities, for docs/ranks.md.

    python -m benchmarks.rank_baselines [--data_dir=DIR]

A Gaussian and Gaussian mixtures for the dequantized time series (bits/dim) and for the vectors (nats/dim). A volume has
4,096 dimensions, more than the data set has examples, so its baseline is the frequency of each level at each voxel
(bits/dim).
"""

import argparse
import json
import math

import numpy as np
from sklearn.mixture import GaussianMixture

from data import stock

COMPONENTS = (1, 2, 5)


def _values(source: stock.Source, rng: np.random.Generator) -> np.ndarray:
    """All examples as vectors [N, D]; levels are dequantized with uniform noise in [0, 1)."""
    x = source.fetch(np.arange(len(source)))["x"].reshape(len(source), -1).astype(np.float64)
    return x + rng.uniform(size=x.shape) if source.num_levels else x


def mixtures(train: stock.Source, test: stock.Source) -> dict[str, float]:
    """Negative held-out log-density of mixtures with full covariances: bits/dim for levels, nats/dim otherwise."""
    rng, unit = np.random.default_rng(0), math.log(2) if train.num_levels else 1.0
    training, held_out = _values(train, rng), _values(test, rng)
    ridge = 1e-3 * training.var()  # added to the covariances, because there are few examples
    results = {}
    for num in COMPONENTS:
        mixture = GaussianMixture(num, random_state=0, reg_covar=0 if num == 1 else ridge).fit(training)
        results[f"gaussians_{num}"] = float(-mixture.score(held_out) / held_out.shape[1] / unit)
    return results


def frequencies(train: stock.Source, test: stock.Source) -> dict[str, float]:
    """Held-out bits/dim of independent voxels, from the counts of levels in the training set plus one."""
    training, held_out = (s.fetch(np.arange(len(s)))["x"].reshape(len(s), -1) for s in (train, test))
    counts = np.stack([(training == level).sum(0) for level in range(train.num_levels)]) + 1.0
    bits = -np.log2(counts / counts.sum(0))
    return {"independent_voxels": float(np.take_along_axis(bits, held_out.astype(int), axis=0).mean())}


def main() -> None:
    """Prints one JSON line per data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default=None, help="the TFDS data directory")
    data_dir = parser.parse_args().data_dir
    for name, measure in (("co2", mixtures), ("tumors", mixtures), ("blobs", frequencies)):
        train, test = (stock.load(name, split, data_dir) for split in ("train", "test"))
        print(json.dumps({"dataset": name, **measure(train, test)}))


if __name__ == "__main__":
    main()

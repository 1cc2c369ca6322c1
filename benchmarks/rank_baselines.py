"""What simple densities reach on the embedded series, volumes and vectors: the scale of docs/ranks.md.

    python -m benchmarks.rank_baselines [--data_dir=DIR]

A Gaussian and mixtures of them on dequantised series (bits/dim) and on vectors (nats/dim); for volumes, whose 4,096
dimensions are more than their examples, the frequency of each level at each voxel (bits/dim).
"""

import argparse
import json
import math

import numpy as np
from sklearn.mixture import GaussianMixture

from data import stock

COMPONENTS = (1, 2, 5)


def _values(source: stock.Source, rng: np.random.Generator) -> np.ndarray:
    """All examples as vectors [N, D]; levels with uniform noise, in units of a level."""
    x = source.fetch(np.arange(len(source)))["x"].reshape(len(source), -1).astype(np.float64)
    return x + rng.uniform(size=x.shape) if source.num_levels else x


def mixtures(train: stock.Source, test: stock.Source) -> dict[str, float]:
    """Negative log-density per dimension of mixtures with full covariances: bits of levels, nats of other values."""
    rng, unit = np.random.default_rng(0), math.log(2) if train.num_levels else 1.0
    learned, held_out = _values(train, rng), _values(test, rng)
    ridge = 1e-3 * learned.var()  # of the covariances: what the few examples need
    found = {}
    for num in COMPONENTS:
        mixture = GaussianMixture(num, random_state=0, reg_covar=0 if num == 1 else ridge).fit(learned)
        found[f"gaussians_{num}"] = float(-mixture.score(held_out) / held_out.shape[1] / unit)
    return found


def frequencies(train: stock.Source, test: stock.Source) -> dict[str, float]:
    """Bits per dimension of independent voxels: how often each level is there in training, with one of each added."""
    learned, held_out = (s.fetch(np.arange(len(s)))["x"].reshape(len(s), -1) for s in (train, test))
    counts = np.stack([(learned == level).sum(0) for level in range(train.num_levels)]) + 1.0
    bits = -np.log2(counts / counts.sum(0))
    return {"independent_voxels": float(np.take_along_axis(bits, held_out.astype(int), axis=0).mean())}


def main() -> None:
    """One JSON line for each data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default=None, help="where TFDS keeps data sets")
    data_dir = parser.parse_args().data_dir
    for name, measure in (("co2", mixtures), ("tumours", mixtures), ("blobs", frequencies)):
        train, test = (stock.load(name, split, data_dir) for split in ("train", "test"))
        print(json.dumps({"dataset": name, **measure(train, test)}))


if __name__ == "__main__":
    main()

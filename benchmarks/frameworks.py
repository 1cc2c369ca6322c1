"""Frechet distances of samples of phantoms, of one framework or several, beside Gaussian mixtures.

    python main.py --workdir=DIR --mode=sample --task=unconditional --num_samples=200
    python -m benchmarks.frameworks DIR/sample/unconditional/samples.npz [...] [--features 64]

The distance is that of the first principal components of the training slices, whose coefficients are the features, in
squared units of [0, 1]. As many samples of each mixture, of 20 Gaussians, are compared in the same way:

- `mixture`: with a variance for each pixel
- `mixture of components`: with full covariances in 100 principal components. By construction, it has the mean and the
  covariance of the training slices, all that the distance sees, so its distance is only that of few samples.

`test` is the distance of the test slices. Prints JSON lines.
"""

import argparse
import json
from collections.abc import Iterator

import numpy as np
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from benchmarks.medical_baselines import phantoms
from evaluation.metrics.frechet import frechet_distance

NUM_GAUSSIANS, RIDGE = 20, 1e-4  # the ridge is added to variances: a hundredth of the range of the data
NUM_COMPONENTS = 100


def mixtures(train: np.ndarray, num_gaussians: int) -> Iterator[tuple[str, GaussianMixture, PCA | None]]:
    """Mixtures of images as vectors [N, D], by name; the second one is of principal components."""
    mixture = GaussianMixture(num_gaussians, covariance_type="diag", reg_covar=RIDGE, random_state=0)
    yield "mixture", mixture.fit(train), None
    pca = components(train, NUM_COMPONENTS)
    yield "mixture of components", GaussianMixture(num_gaussians, random_state=0).fit(pca.transform(train)), pca


def components(train: np.ndarray, num: int) -> PCA:
    """The first principal components of vectors [N, D]."""
    return PCA(min(num, *train.shape), svd_solver="randomized", random_state=0).fit(train)


def distance(features: PCA, train: np.ndarray, found: np.ndarray) -> float:
    """The Frechet distance of images [M, D] and training images [N, D]."""
    a, b = features.transform(train), features.transform(found)
    return frechet_distance(a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T))


def drawn(path: str) -> np.ndarray:
    """The samples of a file, as vectors in [0, 1]."""
    with np.load(path, allow_pickle=False) as arrays:
        levels = arrays["arr_0"]
    return levels.reshape(len(levels), -1) / 255


def main() -> None:
    """Prints one line for each file of samples, and for each of what they are compared with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", nargs="+", help="files samples.npz of --mode=sample --task=unconditional")
    parser.add_argument("--train", type=int, default=3000)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--gaussians", type=int, default=NUM_GAUSSIANS)
    given = parser.parse_args()
    train, test = (phantoms(split, num) for split, num in (("train", given.train), ("test", 200)))
    train, test = train.reshape(len(train), -1).astype(np.float64), test.reshape(len(test), -1)
    features = components(train, given.features)

    def show(name: str, found: np.ndarray) -> None:
        line = {"samples": name, "distance": round(distance(features, train, found), 3), "num": len(found)}
        print(json.dumps(line), flush=True)

    models = {path: drawn(path) for path in given.samples}
    for path, samples in models.items():
        show(path, samples)
    show("test", test)
    for name, mixture, pca in mixtures(train, given.gaussians):
        rows = mixture.sample(max(map(len, models.values())))[0]
        show(name, np.clip(rows if pca is None else pca.inverse_transform(rows), 0, 1))


if __name__ == "__main__":
    main()

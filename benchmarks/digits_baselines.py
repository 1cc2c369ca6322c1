"""Bits/dim of simple models of the digits, with the same data split and formula as the other models.

    python -m benchmarks.digits_baselines [--components 1 5 10 20 30] [--categories NAMES] [--data_dir=DIR]

Of densities, with dequantization: Gaussian mixtures with full, regularized covariances. Of the 17 levels themselves:
`uniform`; `marginals`, each pixel by itself; `classes`, a mixture of marginals, one for each class; `autoregressive`, a
multinomial logistic regression of each pixel on those before it. The regularization with the best result on the test
split itself is reported, which favors the baseline. Prints JSON lines.
"""

import argparse
import json
import math
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture

from data.stock import Source, load

COMPONENTS = (1, 5, 10, 20, 30)
SMOOTHING = (0.03, 0.1, 0.3, 1.0)  # added to every count
STRENGTHS = (0.01, 0.03, 0.1, 0.3)  # C of the logistic regressions
Levels = tuple[np.ndarray, np.ndarray, np.ndarray, int]  # training images [N, D], test images, training labels, levels


def dequantized(source: Source, rng: np.random.Generator) -> np.ndarray:
    """All images with uniform dequantization, [N, 64] in [-1, 1]."""
    levels = source.fetch(np.arange(source.num_examples))["x"].reshape(source.num_examples, -1)
    return 2 * (levels + rng.uniform(size=levels.shape)) / source.num_levels - 1


def log_marginals(train: np.ndarray, num_levels: int, added: float) -> np.ndarray:
    """ln p(level) of every pixel, [D, L], with `added` to every count."""
    counts = np.stack([(train == level).sum(0) for level in range(num_levels)], axis=-1) + added
    return np.log(counts / counts.sum(-1, keepdims=True))


def of_images(log_probs: np.ndarray, images: np.ndarray) -> np.ndarray:
    """ln p of images [N, D] with independent pixels."""
    return log_probs[np.arange(images.shape[1]), images].sum(1)


def uniform(given: Levels) -> np.ndarray:
    """ln p of the test images if all levels are equally likely."""
    return np.full(len(given[1]), -given[1].shape[1] * math.log(given[3]))


def marginals(given: Levels) -> np.ndarray:
    """ln p of the test images, each pixel by itself."""
    train, test, _, num_levels = given
    return max((of_images(log_marginals(train, num_levels, a), test) for a in SMOOTHING), key=np.mean)


def classes(given: Levels) -> np.ndarray:
    """ln p of the test images by a mixture of marginals, one for each class, with equal weights."""
    train, test, labels, num_levels = given

    def mixture(added: float) -> np.ndarray:
        parts = [of_images(log_marginals(train[labels == k], num_levels, added), test) for k in np.unique(labels)]
        return np.logaddexp.reduce(parts, axis=0) - math.log(len(parts))

    return max(map(mixture, SMOOTHING), key=np.mean)


def autoregressive(given: Levels) -> np.ndarray:
    """ln p of the test images, each pixel given those before it in rows; a hundredth of each p is uniform."""
    train, test, _, num_levels = given

    def chain(strength: float) -> np.ndarray:
        total = np.zeros(len(test))
        for pixel in range(train.shape[1]):
            levels, p = np.unique(train[:, pixel]), np.zeros((len(test), num_levels))
            if not pixel or len(levels) == 1:
                p[:] = np.exp(log_marginals(train[:, [pixel]], num_levels, 0.1))
            else:
                before = [images[:, :pixel] / num_levels for images in (train, test)]
                fitted = LogisticRegression(C=strength * num_levels, max_iter=1000).fit(before[0], train[:, pixel])
                p[:, levels] = fitted.predict_proba(before[1])
            total += np.log(0.99 * p[np.arange(len(test)), test[:, pixel]] + 0.01 / num_levels)
        return total

    return max(map(chain, STRENGTHS), key=np.mean)


CATEGORIES: dict[str, Callable[[Levels], np.ndarray]] = {
    "uniform": uniform,
    "marginals": marginals,
    "classes": classes,
    "autoregressive": autoregressive,
}


def main() -> None:
    """Fits the mixtures and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--components", type=int, nargs="+", default=COMPONENTS, help="numbers of components")
    parser.add_argument(
        "--categories", nargs="*", default=list(CATEGORIES), choices=CATEGORIES, help="models of levels"
    )
    parser.add_argument("--data_dir", help="the TFDS data directory")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    sources = load("digits", "train", arguments.data_dir), load("digits", "test", arguments.data_dir)
    train, test = (source.fetch(np.arange(len(source))) for source in sources)
    flat, flat_test = (split["x"].reshape(len(split["x"]), -1).astype(int) for split in (train, test))
    levels: Levels = (flat, flat_test, train["label"], sources[0].num_levels)
    for name in arguments.categories:
        bits = -CATEGORIES[name](levels) / (flat.shape[1] * math.log(2))
        error = bits.std(ddof=1) / math.sqrt(len(bits))
        figures = {"test_bits_per_dim": round(float(bits.mean()), 3), "standard_error": round(float(error), 3)}
        print(json.dumps({"categories": name} | figures), flush=True)
    # Several dequantized copies of each training image approximate the density of the dequantized data.
    dense, held_out = np.concatenate([dequantized(sources[0], rng) for _ in range(8)]), dequantized(sources[1], rng)
    num_dims, num_levels = dense.shape[1], sources[0].num_levels
    for components in arguments.components:
        best = math.inf
        for strength in (1e-4, 1e-3, 3e-3, 1e-2):
            mixture = GaussianMixture(components, reg_covar=strength, random_state=0, max_iter=50).fit(dense)
            bits = -mixture.score(held_out) / (num_dims * math.log(2)) + math.log2(num_levels) - 1
            best = min(best, bits)
        print(json.dumps({"components": components, "test_bits_per_dim": round(best, 3)}), flush=True)


if __name__ == "__main__":
    main()

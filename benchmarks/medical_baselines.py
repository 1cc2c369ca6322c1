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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from skimage.restoration import denoise_tv_chambolle
from sklearn.decomposition import PCA

from core.arrays import Array
from data.stock import load
from evaluation.metrics.psnr import psnr_db
from sampling.inverse.operators.base import LinearOperator, SpectralOperator, largest_singular_value
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
COMPONENTS, NOISE = (150, 300, 600), (0.3, 1.0, 3.0)  # of the residual variance
WEIGHTS = (1e-3, 3e-3, 1e-2)


class Prior(NamedTuple):
    """Mean [D], components [K, D] with their variances [K], and the variance of the rest per dimension."""

    mean: np.ndarray
    components: np.ndarray
    variances: np.ndarray
    rest: float

    def first(self, num: int) -> "Prior":
        """The first components; the others are added to the rest."""
        rest = self.rest + float(self.variances[num:].sum()) / len(self.mean)
        return Prior(self.mean, self.components[:num], self.variances[:num], rest)


def simple(operator: LinearOperator, y: Array) -> np.ndarray:
    """Zeros for what is not measured, or filtered back projection."""
    direct = operator.filtered_back_projection if isinstance(operator, Radon) else operator.pseudo_inverse  # type: ignore[attr-defined]
    return np.asarray(direct(y))


def total_variation(operator: LinearOperator, y: Array, weight: float, num_iterations: int = 150) -> np.ndarray:
    """argmin_x |A x - y|^2 / (2 L) + weight TV(x), L = |A|^2, by FISTA.

    Source: Beck and Teboulle, "Fast Gradient-Based Algorithms for Constrained Total Variation Image Denoising and
    Deblurring Problems", IEEE Trans. Image Process. 18, 2009, section V.
    """
    L = largest_singular_value(operator, 60).reshape(()) ** 2
    descended = jax.jit(lambda x, y: x + operator.adjoint(y - operator.measure(x)) / L)
    x = ahead = simple(operator, y)
    momentum = 1.0
    for _ in range(num_iterations):
        moved = np.asarray(descended(jnp.asarray(ahead), y))
        found = np.stack([denoise_tv_chambolle(image, weight, max_num_iter=20) for image in moved[..., 0]])[..., None]
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        x, ahead = found, found + (momentum - 1) / following * (found - x)
        momentum = following
    return x


def lmmse(operator: LinearOperator, y: Array, prior: Prior, noise: float) -> np.ndarray:
    """x = mean + W z, z = (V^-1 + B^T B / s^2)^-1 B^T (y - A mean) / s^2, B = A W, and what is measured replaced by y.

    W are the components, V their variances; the rest of the examples is noise of variance s^2 = `noise` |A|^2 rest.
    """

    def measured(x: np.ndarray) -> np.ndarray:
        flat = np.asarray(operator.measure(jnp.asarray(x.reshape(-1, *SHAPE), jnp.float32))).reshape(len(x), -1)
        return np.concatenate([flat.real, flat.imag], axis=1) if np.iscomplexobj(flat) else flat

    s_squared = noise * prior.rest * float(largest_singular_value(operator, 60).reshape(())) ** 2
    B = measured(prior.components).astype(np.float64)
    flat = np.asarray(y).reshape(len(y), -1)
    flat = np.concatenate([flat.real, flat.imag], axis=1) if np.iscomplexobj(flat) else flat
    e = flat - measured(prior.mean[None])
    z = np.linalg.solve(np.diag(1 / prior.variances) + B @ B.T / s_squared, B @ e.T / s_squared).T
    x = (prior.mean + z @ prior.components).reshape(-1, *SHAPE)
    if isinstance(operator, SpectralOperator):
        x = x + np.asarray(operator.pseudo_inverse(y - operator.measure(jnp.asarray(x, jnp.float32))))
    return x


def principal_components(train: np.ndarray) -> Prior:
    """The prior of training phantoms [N, *SHAPE]."""
    flat = train.reshape(len(train), -1).astype(np.float64)
    pca = PCA(min(max(COMPONENTS), len(train) - 1), svd_solver="randomized", random_state=0).fit(flat)
    rest = max(float(flat.var(axis=0).sum() - pca.explained_variance_.sum()), 1e-9) / flat.shape[1]
    return Prior(pca.mean_, pca.components_, pca.explained_variance_, rest)


def figures(name: str, train: np.ndarray, test: np.ndarray, prior: Prior) -> dict[str, float]:
    """The mean PSNR by method."""
    operator = PROBLEMS[name]()
    y, held_out = operator.measure(jnp.asarray(test)), train[-HELD_OUT:]
    seen = operator.measure(jnp.asarray(held_out))

    def quality(found: np.ndarray, truth: np.ndarray) -> float:
        return float(psnr_db(found, truth).mean())

    weight = max(WEIGHTS, key=lambda w: quality(total_variation(operator, seen[:FEW], w), held_out[:FEW]))
    settings = [(prior.first(num), noise) for num in COMPONENTS for noise in NOISE]
    best = max(settings, key=lambda setting: quality(lmmse(operator, seen, *setting), held_out))
    first = "filtered back projection" if isinstance(operator, Radon) else "zero-filled"
    return {
        first: quality(simple(operator, y), test),
        "total variation": quality(total_variation(operator, y, weight), test),
        "PCA-LMMSE": quality(lmmse(operator, y, *best), test),
        "weight": weight,
        "components": len(best[0].variances),
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

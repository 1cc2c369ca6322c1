"""Reconstructions without a score model: directly, by total variation, and linearly by principal components.

Examples are [N, *sides, C] in the units of the data, and so are measurements. Weights and numbers of components are
those that are best for examples which are held out.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from sampling.inverse.operators.base import LinearOperator, SpectralOperator, largest_singular_value
from sampling.inverse.operators.radon import Radon
from sampling.inverse.operators.sense import Sense

COMPONENTS, NOISE = (150, 300, 600), (0.3, 1.0, 3.0)  # of the residual variance
WEIGHTS = (1e-3, 3e-3, 1e-2)
NUM_POWER = 60  # power iterations for the norm of an operator


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

    def explained(self, x: np.ndarray) -> np.ndarray:
        """The part of examples [N, ...] that mean and components explain."""
        flat = x.reshape(len(x), -1) - self.mean
        return (self.mean + flat @ self.components.T @ self.components).reshape(x.shape)


def principal_components(train: np.ndarray, num: int = max(COMPONENTS)) -> Prior:
    """The prior of training examples [N, ...], with at most `num` components."""
    from sklearn.decomposition import PCA  # slow to import

    flat = train.reshape(len(train), -1).astype(np.float64)
    num = min(num, len(train) - 1, flat.shape[1])
    pca = PCA(num, svd_solver="randomized", random_state=0).fit(flat)
    rest = max(float(flat.var(axis=0).sum() - pca.explained_variance_.sum()), 1e-9) / flat.shape[1]
    return Prior(pca.mean_, pca.components_, pca.explained_variance_, rest)


def direct(operator: LinearOperator, y: Array) -> np.ndarray:
    """Filtered back projection, combined coils, or zeros for what is not measured; else A^T y / |A|^2."""
    if isinstance(operator, Radon):
        return np.asarray(operator.filtered_back_projection(y))
    if isinstance(operator, Sense):
        return np.asarray(operator.combine(y))
    if isinstance(operator, SpectralOperator):
        return np.asarray(operator.pseudo_inverse(y))
    return np.asarray(operator.adjoint(y)) / float(largest_singular_value(operator, NUM_POWER).reshape(())) ** 2


@dataclasses.dataclass(frozen=True)
class TotalVariation:
    """argmin_x |A x - y|^2 / (2 L) + weight TV(x), L = |A|^2, by FISTA; the channels of a pixel vary together.

    Needs scikit-image. Source: Beck and Teboulle, "Fast Gradient-Based Algorithms for Constrained Total Variation Image
    Denoising and Deblurring Problems", IEEE Trans. Image Process. 18, 2009, section V.
    """

    weight: float
    num_iterations: int = 150

    def __call__(self, operator: LinearOperator, y: Array) -> np.ndarray:
        """Examples [N, ...] from measurements."""
        from skimage.restoration import denoise_tv_chambolle  # an extra

        L = largest_singular_value(operator, NUM_POWER).reshape(()) ** 2
        descended = jax.jit(lambda x, y: x + operator.adjoint(y - operator.measure(x)) / L)
        x = ahead = direct(operator, y)
        momentum = 1.0
        for _ in range(self.num_iterations):
            moved = np.asarray(descended(jnp.asarray(ahead), y))
            smooth = [denoise_tv_chambolle(one, self.weight, max_num_iter=20, channel_axis=-1) for one in moved]
            found = np.stack(smooth)
            following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            x, ahead = found, found + (momentum - 1) / following * (found - x)
            momentum = following
        return x


@dataclasses.dataclass(frozen=True)
class LMMSE:
    """The linear estimate of least error for a prior, made to agree with y where A has singular values.

        x = mean + W z,    z = (V^-1 + B^T B / s^2)^-1 B^T (y - A mean) / s^2,    B = A W

    W are the components, V their variances; the rest of the examples is noise of variance s^2 = `noise` |A|^2 rest.
    """

    prior: Prior
    noise: float

    def __call__(self, operator: LinearOperator, y: Array) -> np.ndarray:
        """Examples [N, ...] from measurements."""
        prior, shape = self.prior, operator.shape

        def measured(x: np.ndarray) -> np.ndarray:
            return _real(np.asarray(operator.measure(jnp.asarray(x.reshape(-1, *shape), jnp.float32))))

        largest = float(largest_singular_value(operator, NUM_POWER).reshape(()))
        s_squared = self.noise * prior.rest * largest**2
        B = measured(prior.components).astype(np.float64)
        e = _real(np.asarray(y)) - measured(prior.mean[None])
        z = np.linalg.solve(np.diag(1 / prior.variances) + B @ B.T / s_squared, B @ e.T / s_squared).T
        x = (prior.mean + z @ prior.components).reshape(-1, *shape)
        if isinstance(operator, SpectralOperator):
            x = x + np.asarray(operator.pseudo_inverse(y - operator.measure(jnp.asarray(x, jnp.float32))))
        return x


def best_total_variation(operator: LinearOperator, held_out: np.ndarray) -> TotalVariation:
    """The weight of `WEIGHTS` with the least error for examples [N, ...] that are measured without noise."""
    y = operator.measure(jnp.asarray(held_out))
    return min(map(TotalVariation, WEIGHTS), key=lambda found: _error(found(operator, y), held_out))


def best_lmmse(operator: LinearOperator, prior: Prior, held_out: np.ndarray) -> LMMSE:
    """The number of components and the noise with the least error for examples that the prior does not know."""
    y = operator.measure(jnp.asarray(held_out))
    known = [num for num in COMPONENTS if num < len(prior.variances)] + [len(prior.variances)]
    choices = [LMMSE(prior.first(num), noise) for num in known for noise in NOISE]
    return min(choices, key=lambda found: _error(found(operator, y), held_out))


def _error(found: np.ndarray, truth: np.ndarray) -> float:
    """The mean over examples of the logarithm of the mean square error within the range of the truth, as in PSNR."""
    error = np.clip(found, truth.min(), truth.max()) - truth
    squares = (error.astype(np.float64) ** 2).reshape(len(truth), -1).mean(axis=1)
    return float(np.log(np.maximum(squares, 1e-10)).mean())


def _real(y: np.ndarray) -> np.ndarray:
    """Measurements [N, ...] as real vectors [N, M]."""
    flat = y.reshape(len(y), -1)
    return np.concatenate([flat.real, flat.imag], axis=1) if np.iscomplexobj(flat) else flat

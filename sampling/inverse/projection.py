"""Projection: what is measured of every sample is replaced by noisy data at the same time.

A projection is the `constrain` hook of the sampling loop, for any linear measurement, and does not use the score. The
rest of the sample learns of the measurement only through the steps; corrector steps make it follow.
"""

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from sampling.base import Constrain, Replace, Sample, with_noise
from sampling.inverse.base import Conditioned, measurement
from sampling.inverse.operators.base import LinearOperator, SpectralOperator
from sampling.inverse.operators.grayscale import grayscale
from sampling.inverse.operators.mask import mask
from sde.base import SDE


def projection(
    sde: SDE, operator: LinearOperator, y: Array, noise_std: float = 0.0, *, num_iterations: int = 10
) -> Conditioned:
    """The projection of Song et al. 2021 (see `project`) as a method, for samplers that support a constraint."""
    return Conditioned(constrain=project(sde, operator, y, noise_std, num_iterations))


def project(
    sde: SDE, operator: LinearOperator, y: Array, noise_std: float = 0.0, num_iterations: int = 10
) -> Constrain:
    """The constraint of `replacement`, or of `row_space_replacement` without singular values, with fresh noise."""
    if isinstance(operator, SpectralOperator):
        return with_noise(replacement(sde, operator, y, noise_std))
    return with_noise(row_space_replacement(sde, operator, y, noise_std, num_iterations))


def row_space_replacement(
    sde: SDE, operator: LinearOperator, y: Array, noise_std: float = 0.0, num_iterations: int = 10
) -> Replace:
    """Moves a sample at time t towards noisy data at time t within the row space of A, by its products alone.

    x <- x + A^T (A A^T + rho^2 I)^-1 (m y + std A z - A x),    rho = m noise_std / std;    for `mean` without z

    m = mean_coeff(t), std = std(t). Without noise this replaces the part of x in the row space of A by that of
    m x_0 + std z for any x_0 with A x_0 = y, exactly if the linear system is; at most `num_iterations` conjugate
    gradients solve it. With noise a part with the singular value s moves by the share s^2 / (s^2 + rho^2), so it is
    left alone once the sample is less noisy than the measurement.
    Source: Song et al., "Solving Inverse Problems in Medical Imaging with Score-Based Generative Models", ICLR 2022,
    section 3.2; Chung and Ye, "Score-based diffusion models for accelerated MRI", Med. Image Anal. 80, 2022.
    Notes: theirs is for a mask of an orthonormal transform, with one weight lambda for all of it.
    """
    A = measurement(operator, y, num_iterations)

    def replace(z: Array, sample: Sample, t: Array) -> Sample:
        m, std = sde.mean_coeff(t), sde.std(t)
        rho_squared = (m * noise_std / jnp.maximum(std, 1e-12)) ** 2
        noisy = broadcast_to_rank(m, A.y) * A.y

        def moved(x: Array, target: Array) -> Array:
            return x + A.adjoint(A.solve(target - A.measure(x), 1.0, rho_squared))

        noise = A.measure(broadcast_to_rank(std, z) * z)
        return Sample(moved(sample.x, noisy + noise), moved(sample.mean, noisy))

    return replace


def replacement(sde: SDE, operator: SpectralOperator, y: Array, noise_std: float = 0.0) -> Replace:
    """Replaces the measured coordinates of a sample at time t by those of noisy data at time t.

    c_i <- m y_i / s_i + sqrt(std^2 - (m noise_std / s_i)^2) z_i    for s_i > 0; for `mean` without z
    c = V^T x,  A = U S V^T,  y_i = (U^T y)_i,  m = mean_coeff(t), std = std(t)

    The other coordinates are unchanged. `y` [B, *measurement_shape]; `noise_std` is the standard deviation of its
    noise, in its units. Without noise the sampler's result, at time 0, agrees with y exactly; with noise a coordinate
    is left alone as soon as the sample is less noisy than its measurement.
    Source: Song et al. 2021, appendix I.2 and I.3, in the basis of Kawar et al., NeurIPS 2022 (DDRM), section 3.
    Notes: the published code discards the posterior mean of the unknown part, and noises the known part for the time
    before the step; here `mean` is kept, and t is the time of the sample.
    """
    known, s = operator.estimate(y), operator.singular_values
    measured = operator.measured
    error = noise_std / jnp.where(measured, s, 1.0)  # standard deviation of y_i / s_i

    def replace(z: Array, sample: Sample, t: Array) -> Sample:
        x, mean = operator.to_basis(sample.x), operator.to_basis(sample.mean)
        m, std = broadcast_to_rank(sde.mean_coeff(t), x), broadcast_to_rank(sde.std(t), x)
        variance = std**2 - (m * error) ** 2
        noisy = m * known + jnp.sqrt(jnp.maximum(variance, 0.0)) * operator.to_basis(z)
        replaced = measured & (variance >= 0)
        x, mean = jnp.where(replaced, noisy, x), jnp.where(replaced, m * known, mean)
        return Sample(operator.from_basis(x), operator.from_basis(mean))

    return replace


def inpaint(sde: SDE, image: Array, known: Array) -> Constrain:
    """Fills in `image` [B, ...] where `known` (see `mask`) is zero, and keeps the rest."""
    return project(sde, mask(image.shape[1:], known), image)


def colorize(sde: SDE, image: Array) -> Constrain:
    """Colors for grayscale images [B, H, W, 1], which will equal the mean of the channels of the samples."""
    return project(sde, grayscale((*image.shape[1:3], 3)), image)

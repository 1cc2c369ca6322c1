"""Projection: the measured coordinates of every sample are replaced by noisy data at the same time.

A projection is the `constrain` hook of the sampling loop, for any linear measurement, and does not use the score. The
rest of the sample learns of the measurement only through the steps; corrector steps make it follow.
"""

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from sampling.base import Constrain, Replace, Sample, with_noise
from sampling.inverse.base import Conditioned
from sampling.inverse.operators.base import SpectralOperator
from sampling.inverse.operators.grayscale import grayscale
from sampling.inverse.operators.mask import mask
from sde.base import SDE


def projection(sde: SDE, operator: SpectralOperator, y: Array, noise_std: float = 0.0) -> Conditioned:
    """The projection of Song et al. 2021 (see `project`) as a method, for samplers that support a constraint."""
    return Conditioned(constrain=project(sde, operator, y, noise_std))


def project(sde: SDE, operator: SpectralOperator, y: Array, noise_std: float = 0.0) -> Constrain:
    """The constraint of `replacement`, with fresh noise."""
    return with_noise(replacement(sde, operator, y, noise_std))


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

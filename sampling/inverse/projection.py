"""Conditional samples by projection: what is measured is replaced, on the way, by noisy data of the right time.

A projection is a `Constrain` hook of the sampling loop, for any linear measurement. It asks nothing of the score, and
the state knows of a measurement only what the last step brought in: corrector steps let the rest follow.
"""

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from sampling.base import Constrain, Sample
from sampling.inverse.operators.averages import gray
from sampling.inverse.operators.base import Operator, mask
from sde.base import SDE


def project(sde: SDE, operator: Operator, y: Array, noise_std: float = 0.0) -> Constrain:
    """Replaces the measured coordinates of a sample at time t by those of noisy data.

    c_i <- m y_i / s_i + sqrt(std^2 - (m noise_std / s_i)^2) z_i    for s_i > 0; for `mean` without z
    c = V^T x,  A = U S V^T,  y_i = (U^T y)_i,  m = mean_coeff(t), std = std(t)

    The others stay as they are. `y` [B, *measurement_shape]; `noise_std`: of the measurement, in its units. Without
    it the sampler's result, at time 0, explains y exactly; with it a coordinate is free from where the state is less
    noisy than its measurement.
    Source: Song et al. 2021, appendix I.2 and I.3, in the basis of Kawar et al., NeurIPS 2022 (DDRM), section 3.
    Notes: the published code throws the denoised values of what is not known away, and noises what is known for the
    time before the step; here `mean` is kept, and t is the time at which the sample lives.
    """
    known, s = operator.estimate(y), operator.singular_values
    measured = operator.measured
    error = noise_std / jnp.where(measured, s, 1.0)  # standard deviation of y_i / s_i

    def constrain(z: Array, sample: Sample, t: Array) -> Sample:
        x, mean = operator.to_basis(sample.x), operator.to_basis(sample.mean)
        m, std = broadcast_to_rank(sde.mean_coeff(t), x), broadcast_to_rank(sde.std(t), x)
        variance = std**2 - (m * error) ** 2
        noisy = m * known + jnp.sqrt(jnp.maximum(variance, 0.0)) * operator.to_basis(z)
        replaced = measured & (variance >= 0)
        x, mean = jnp.where(replaced, noisy, x), jnp.where(replaced, m * known, mean)
        return Sample(operator.from_basis(x), operator.from_basis(mean))

    return constrain


def inpaint(sde: SDE, image: Array, known: Array) -> Constrain:
    """Fills in `image` [B, ...] where `known` (see `mask`) is zero; the rest is kept."""
    return project(sde, mask(image.shape[1:], known), image)


def colorize(sde: SDE, image: Array) -> Constrain:
    """Colours for grey images [B, H, W, 1], which the mean of the channels of the samples will equal."""
    return project(sde, gray((*image.shape[1:3], 3)), image)

"""DDNM: the posterior mean of the data, corrected to agree with the measurement."""

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Gaussian, Predict
from sampling.inverse.base import Conditioned, corrected, measurement, posterior_variance
from sampling.inverse.operators.base import LinearOperator
from sde.base import SDE


def ddnm(
    sde: SDE,
    operator: LinearOperator,
    y: Array,
    noise_std: float = 0.0,
    *,
    prior_variance: float = 1.0,
    num_iterations: int = 10,
) -> Conditioned:
    """Replaces the posterior mean x0 by one that agrees with the measurement. Works with every sampler.

        x0 <- x0 + A^+ (y - A x0)                                               without noise
        x0 <- x0 + r^2 A^T (r^2 A A^T + noise_std^2)^-1 (y - A x0)              with noise

    This is the posterior mean if x_0 given x_t is N(x0, r^2 I), so it is exact for data N(0, prior_variance I).
    `prior_variance`: variance of the data, per dimension; it has no effect without noise. r^2 is that of
    `posterior_variance`. Without a `SpectralOperator`, the linear system is solved by at most `num_iterations`
    conjugate gradients.
    Errors: ValueError for fewer than one iteration, and for a measurement of another shape.
    Source: Wang et al., "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model", ICLR 2023, section 3.
    Notes: their noisy variant trusts y fully as long as the sampler's own step adds more noise than y has, so it must
    know the step. Here the trust is that of the Gaussian above, which holds for every sampler.
    """
    A = measurement(operator, y, num_iterations)

    def wrap_predict(predict: Predict) -> Predict:
        def guided(x: Array, t: Array) -> Gaussian:
            prediction, variance = predict(x, t), posterior_variance(sde, t, prior_variance)
            change = A.adjoint(A.solve(A.residual(prediction.x0), variance, noise_std**2))
            return corrected(prediction, sde, t, broadcast_to_rank(variance, x) * change)

        return guided

    return Conditioned(wrap_predict=wrap_predict)

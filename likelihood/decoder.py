"""A decoder for the interval [0, eps], over which the ODE is not solved.

`log_likelihood` alone treats data as samples at time eps and computes the density of the model's marginal there
("at_eps"). This bounds nothing at time 0, but the difference is negligible for data that are smooth on the scale of the
noise at eps. The alternative ("decoded") extends the model to time 0 with a decoder, and bounds its log-density from
below with one sample at eps.
"""

import math

import jax.numpy as jnp

from core.arrays import Array
from corruption.predictions import Predict
from sde.base import SDE


def decode(predict: Predict, sde: SDE, x0: Array, z: Array, *, eps: float) -> tuple[Array, Array]:
    """A sample x at eps for each example, and the term that turns its log-density into a lower bound at 0, in nats [B].

        log p(x0) >= E[log p_eps(x) + log p(x0 | x) - log q(x | x0)],   q = N(mean_coeff x0, std^2 I)
        p(x0 | x) = N(posterior mean of the data given x, (std / mean_coeff)^2 I)
        log p(x0 | x) - log q(x | x0) = D ln mean_coeff + z . noise(x, eps) - |noise(x, eps)|^2 / 2

    Data `x0`, Gaussian noise `z` [B, ...]; x = mean_coeff x0 + std z. The bound holds in expectation over z. One
    prediction.
    Source: Song et al., "Maximum Likelihood Training of Score-Based Diffusion Models", NeurIPS 2021;
    Kim et al., "Soft Truncation", ICML 2022.
    """
    t = jnp.full(x0.shape[:1], eps)
    axes = tuple(range(1, x0.ndim))
    x = sde.perturb(x0, t, z)
    noise = predict(x, t).noise
    log_volume = math.prod(x0.shape[1:]) * jnp.log(sde.mean_coeff(t))
    return x, log_volume + jnp.sum(z * noise - 0.5 * noise**2, axis=axes)

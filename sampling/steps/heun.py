"""Heun's method with churn (EDM's sampler): a second-order predictor for few steps.

It follows straight lines of the probability-flow ODE in the variables of Karras et al. 2022,

    d(x / m) / d(sigma) = noise(x, t),    m = mean_coeff,  sigma = std / m,

so `mean_coeff` and `std` are all it needs of an SDE.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Predict
from sampling.base import Sample, Step
from sde.base import SDE

MAX_CHURN = math.sqrt(2) - 1  # largest relative increase of sigma in a step; Karras et al. 2022, algorithm 2


@dataclasses.dataclass(frozen=True)
class Churn:
    """Noise added before each step: it raises sigma to (1 + min(s_churn / num_steps, sqrt(2) - 1)) sigma.

    Applied only where s_tmin <= sigma <= s_tmax. The noise has `s_noise` times the standard deviation of the
    transition; sigma = std / mean_coeff is in units of the data.
    Errors: ValueError for settings outside their ranges.
    Source: Karras et al. 2022, algorithm 2 and section 4.
    Notes: sigma never exceeds its value at t = 1, the largest noise level the network was trained on.
    """

    s_churn: float = 0.0
    num_steps: int = 1
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        if self.s_churn < 0 or self.num_steps < 1 or self.s_noise <= 0 or not self.s_tmin <= self.s_tmax:
            raise ValueError(f"Churn needs s_churn >= 0, num_steps >= 1, s_noise > 0, s_tmin <= s_tmax; got {self}.")

    def __call__(self, z: Array, sde: SDE, x: Array, t: Array) -> tuple[Array, Array]:
        """x [B, ...] and t [B] with noise z [B, ...] added; unchanged outside the range."""
        sigma = sde.std(t) / sde.mean_coeff(t)
        raised = time_at(sde, (1 + min(self.s_churn / self.num_steps, MAX_CHURN)) * sigma)
        inside = (sigma >= self.s_tmin) & (sigma <= self.s_tmax) & (raised > t)
        t_hat = jnp.where(inside, raised, t)
        scale, std = sde.transition(t, t_hat)
        moved = broadcast_to_rank(scale, x) * x + broadcast_to_rank(self.s_noise * std, x) * z
        return jnp.where(broadcast_to_rank(inside, x), moved, x), t_hat


def heun(*, churn: Churn | None = None) -> Step:
    """Heun's method (the trapezoidal rule) in sigma, after `churn` has added noise, if it is given.

    x_e = m' x0(x, t) + std' noise(x, t),    m', std', sigma' at t_next
    x'  = x_e + m' (sigma' - sigma) (noise(x_e, t_next) - noise(x, t)) / 2

    Predicts twice; at the end of a chain, where sigma' = 0, the result is x_e (Euler's step).
    Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022, algorithm 2,
    with x / m in place of x (their section 2: s(t) = mean_coeff).
    Notes: in the last step of a chain the second call is still made, at t = 0, and its result ignored.
    """

    def step(z: Array, predict: Predict, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        if churn is not None and churn.s_churn > 0:
            x, t = churn(z, sde, x, t)
        m, m_next, std_next = sde.mean_coeff(t), sde.mean_coeff(t_next), sde.std(t_next)
        x0, noise = predict(x, t)
        euler = broadcast_to_rank(m_next, x) * x0 + broadcast_to_rank(std_next, x) * noise
        slope = broadcast_to_rank(std_next - sde.std(t) * m_next / m, x)
        trapezoid = euler + 0.5 * slope * (predict(euler, jnp.maximum(t_next, 0.0)).noise - noise)
        mean = jnp.where(broadcast_to_rank(std_next > 0, x), trapezoid, euler)
        return Sample(mean, mean)

    return step


def straight_heun(*, churn: Churn | None = None) -> Step:
    """Heun's method along the straight line from data to noise, after `churn` has added noise, if it is given.

        y = x / (m + std),  tau = std / (m + std),  dy/dtau = u = noise - x0
        y_e = y + (tau' - tau) u(x, t),    y' = y + (tau' - tau) (u(x, t) + u(x_e, t_next)) / 2

    On the linear path y = x and tau = t: this is the rule of flow matching, of order two up to both ends of time, where
    steps of `heun` in sigma are infinitely long. Every SDE is the linear path in these variables. Predicts twice; where
    std' = 0 the result is x_e. Source: Karras et al. 2022, algorithm 2, in other variables; Lipman et al., ICLR 2023.
    """

    def step(z: Array, predict: Predict, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        if churn is not None and churn.s_churn > 0:
            x, t = churn(z, sde, x, t)
        m, std, m_next, std_next = sde.mean_coeff(t), sde.std(t), sde.mean_coeff(t_next), sde.std(t_next)
        total = broadcast_to_rank(m_next + std_next, x)
        y, dtau = x / broadcast_to_rank(m + std, x), std_next / (m_next + std_next) - std / (m + std)
        x0, noise = predict(x, t)
        euler = total * (y + broadcast_to_rank(dtau, x) * (noise - x0))
        x0_next, noise_next = predict(euler, jnp.maximum(t_next, 0.0))
        slope = 0.5 * (noise - x0 + noise_next - x0_next)
        trapezoid = total * (y + broadcast_to_rank(dtau, x) * slope)
        mean = jnp.where(broadcast_to_rank(std_next > 0, x), trapezoid, euler)
        return Sample(mean, mean)

    return step


def time_at(sde: SDE, sigma: Array) -> Array:
    """The time in [0, 1] at which `std / mean_coeff` is `sigma` [B], by bisection: [B].

    1 where sigma is never reached; for a chain, a time of the first level that is at least as noisy.
    """

    def halve(_: Array, interval: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = interval
        middle = 0.5 * (low + high)
        above = sde.std(middle) >= sigma * sde.mean_coeff(middle)
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    return jax.lax.fori_loop(0, 40, halve, (jnp.zeros_like(sigma), jnp.ones_like(sigma)))[1]

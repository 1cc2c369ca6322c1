"""Single-step solvers that take long steps: DDIM, and Heun's method with churn. Predictors of the one loop.

Both move along straight lines of the probability-flow ODE in the variables of Karras et al. 2022,

    d(x / m) / d(sigma) = noise(x, t),    m = mean_coeff,  sigma = std / m,  noise(x, t) = -std(t) score(x, t),

and so need nothing of an SDE but `mean_coeff` and `std`. x is [B, ...], t and t_next are [B], with t_next < t.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from sampling.base import Sample, Step
from sde.base import SDE, ScoreFn

MAX_CHURN = math.sqrt(2) - 1  # largest growth of sigma in a step; Karras et al. 2022, algorithm 2


def ddim(*, eta: float = 0.0) -> Step:
    """From the expected data back to t_next, with `eta` times the noise of ancestral sampling.

    mean = m' x0 + sqrt(std'^2 - s^2) noise,    x = mean + s z,    s = eta std' G / std,
    x0 = (x - std noise) / m,    (_, G) = transition(t_next, t),  m', std' at t_next

    eta = 0 is the first-order exponential integrator of the ODE (DPM-Solver-1), eta = 1 is `ancestral` ("posterior").
    Calls the score function once. Errors: ValueError for eta outside [0, 1].
    Source: Song et al., "Denoising Diffusion Implicit Models", ICLR 2021, equations 12 and 16, for any SDE.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta = {eta}, but it must be in [0, 1]: 0 follows the ODE, 1 is ancestral sampling.")

    def step(z: Array, score_fn: ScoreFn, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        noise = -broadcast_to_rank(sde.std(t), x) * score_fn(x, t)
        x0 = (x - broadcast_to_rank(sde.std(t), x) * noise) / broadcast_to_rank(sde.mean_coeff(t), x)
        _, transition_std = sde.transition(t_next, t)
        spread = eta * sde.std(t_next) * transition_std / sde.std(t)
        rest = jnp.sqrt(jnp.maximum(sde.std(t_next) ** 2 - spread**2, 0.0))  # rounding, for eta = 1 at the prior
        mean = broadcast_to_rank(sde.mean_coeff(t_next), x) * x0 + broadcast_to_rank(rest, x) * noise
        return Sample(mean + broadcast_to_rank(spread, x) * z, mean)

    return step


@dataclasses.dataclass(frozen=True)
class Churn:
    """How far noise is raised before each step: sigma to (1 + min(s_churn / num_steps, sqrt(2) - 1)) sigma.

    Only where s_tmin <= sigma <= s_tmax, with noise `s_noise` times as large as the transition's.
    Source: Karras et al. 2022, algorithm 2 and section 4. Errors: ValueError for values without meaning.
    Notes: sigma = std / mean_coeff, in units of the data, and never above that of t = 1, where networks end.
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
        """x [B, ...] and t [B], raised by fresh noise z [B, ...]; they stay as they are outside the range."""
        sigma = sde.std(t) / sde.mean_coeff(t)
        raised = time_at(sde, (1 + min(self.s_churn / self.num_steps, MAX_CHURN)) * sigma)
        inside = (sigma >= self.s_tmin) & (sigma <= self.s_tmax) & (raised > t)
        t_hat = jnp.where(inside, raised, t)
        scale, std = sde.transition(t, t_hat)
        moved = broadcast_to_rank(scale, x) * x + broadcast_to_rank(self.s_noise * std, x) * z
        return jnp.where(broadcast_to_rank(inside, x), moved, x), t_hat


def heun(*, churn: Churn | None = None) -> Step:
    """Heun's method (the trapezoidal rule) in sigma, after raising the noise by `churn`, where there is any.

    x_e = (m' / m) x + m' (sigma' - sigma) noise(x, t)
    x'  = (m' / m) x + m' (sigma' - sigma) (noise(x, t) + noise(x_e, t_next)) / 2,    m', sigma' at t_next

    Calls the score function twice; at the end of a chain, where sigma' = 0, the result is x_e (Euler's).
    Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022, algorithm 2,
    with x / m in place of x (their section 2: s(t) = mean_coeff).
    Notes: in the last step of a chain the second call is made all the same, at t = 0, and not used.
    """

    def step(z: Array, score_fn: ScoreFn, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        if churn is not None and churn.s_churn > 0:
            x, t = churn(z, sde, x, t)
        m, m_next, std_next = sde.mean_coeff(t), sde.mean_coeff(t_next), sde.std(t_next)
        kept = broadcast_to_rank(m_next / m, x) * x
        slope = broadcast_to_rank(std_next - sde.std(t) * m_next / m, x)
        noise = -broadcast_to_rank(sde.std(t), x) * score_fn(x, t)
        euler = kept + slope * noise
        t_asked = jnp.maximum(t_next, 0.0)
        noise_next = -broadcast_to_rank(sde.std(t_asked), x) * score_fn(euler, t_asked)
        trapezoid = kept + slope * 0.5 * (noise + noise_next)
        mean = jnp.where(broadcast_to_rank(std_next > 0, x), trapezoid, euler)
        return Sample(mean, mean)

    return step


def time_at(sde: SDE, sigma: Array) -> Array:
    """The time in [0, 1] at which `std / mean_coeff` is `sigma` [B], by bisection: [B].

    1 where sigma is never reached; of a chain, a time of the first level that is at least as noisy.
    """

    def halve(_: Array, interval: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = interval
        middle = 0.5 * (low + high)
        above = sde.std(middle) >= sigma * sde.mean_coeff(middle)
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    return jax.lax.fori_loop(0, 40, halve, (jnp.zeros_like(sigma), jnp.ones_like(sigma)))[1]

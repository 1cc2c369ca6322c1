"""Gaussian noise: the corruption process of an SDE."""

import dataclasses
import math
from collections.abc import Sequence

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from core.keys import draw_normal
from corruption.predictions import Gaussian
from sde.base import SDE


@dataclasses.dataclass(frozen=True)
class GaussianNoise:
    """`x_t = mean_coeff(t) x0 + std(t) noise`; a `Process` (see `corruption.base.Process`).

    The target of a prediction is a `Gaussian` with the true data and noise.
    """

    sde: SDE

    @property
    def is_discrete(self) -> bool:
        """Whether the SDE is a chain of noise levels."""
        return self.sde.is_discrete

    def prior(self, keys: Array, shape: Sequence[int]) -> Array:
        """A sample of the SDE's prior."""
        return self.sde.prior_sample(keys, shape)

    def corrupt(self, keys: Array, x0: Array, t: Array) -> tuple[Array, Gaussian]:
        """x at times t, with standard normal noise."""
        target = Gaussian(x0, draw_normal(keys, x0.shape))
        return self.sde.perturb(x0, t, target.noise), target

    def error(self, prediction: Gaussian, target: Gaussian, t: Array) -> Array:
        """The error of the noise, [B, ...]: `noise - z = -(mean_coeff / std) (x0 of the prediction - x0)`.

        Computed from the second form where mean_coeff < std, because the first is then a difference of nearly equal
        numbers for every network that does not predict the noise itself.
        """
        mean, std = broadcast_to_rank(self.sde.mean_coeff(t), target.x0), broadcast_to_rank(self.sde.std(t), target.x0)
        by_data = -mean / std * (prediction.x0 - target.x0)
        return jnp.where(mean < std, by_data, prediction.noise - target.noise)

    def reverse_step(self, keys: Array, prediction: Gaussian, x: Array, t: Array, t_next: Array) -> tuple[Array, Array]:
        """A sample of x at t_next given x at t and x0, and its mean, with the predicted x0 in place of the true one.

        mean = m' x0 + (scale std'^2 / std) noise,   x = mean + (std' G / std) z;   (scale, G) = transition(t_next, t)

        Source: Song et al. 2021, equation 47; Ho et al. 2020, equation 7, in terms of the noise.
        """
        mean, spread = self.posterior(prediction, t, t_next)
        return mean + spread * draw_normal(keys, x.shape), mean

    def step_nats(self, prediction: Gaussian, x0: Array, x: Array, t: Array, t_next: Array) -> Array:
        """`1/2 (G / (scale std'))^2 |noise - z|^2`, z the true noise; (scale, G) = transition(t_next, t), s = t_next.

        Both distributions have the same standard deviation, and means that differ by G^2 / (scale std) (noise - z). At
        the data, std' = 0, it is infinite: the last step's term is that of a decoder, see `likelihood.bound`.
        Source: Ho et al. 2020, equation 8.
        """
        sde = self.sde
        z = (x - broadcast_to_rank(sde.mean_coeff(t), x) * x0) / broadcast_to_rank(sde.std(t), x)
        scale, transition_std = sde.transition(t_next, t)
        squares = jnp.sum(self.error(prediction, Gaussian(x0, z), t) ** 2, axis=tuple(range(1, x.ndim)))
        return 0.5 * (transition_std / (scale * sde.std(t_next))) ** 2 * squares

    def prior_nats(self, x0: Array, t: Array | None = None) -> Array:
        """`(m^2 |x0|^2 / s^2 + D (r - 1 - ln r)) / 2`, r = std^2 / s^2, with m, std at t = 1 and s = prior_std.

        t [B]: where the path from the data ends, if not at 1.
        """
        sde, t = self.sde, jnp.ones(x0.shape[:1]) if t is None else t
        m, ratio = sde.mean_coeff(t), sde.std(t) ** 2 / sde.prior_std**2
        squares = m**2 * jnp.sum(x0**2, axis=tuple(range(1, x0.ndim))) / sde.prior_std**2
        return 0.5 * (squares + math.prod(x0.shape[1:]) * (ratio - 1 - jnp.log(ratio)))

    def posterior(self, prediction: Gaussian, t: Array, t_next: Array) -> tuple[Array, Array]:
        """Mean [B, ...] and standard deviation, broadcastable to it, of x at t_next given x at t and x0."""
        sde, like = self.sde, prediction.x0
        scale, transition_std = sde.transition(t_next, t)
        ratio = sde.std(t_next) / sde.std(t)
        kept = broadcast_to_rank(scale * sde.std(t_next) * ratio, like) * prediction.noise
        mean = broadcast_to_rank(sde.mean_coeff(t_next), like) * prediction.x0 + kept
        return mean, broadcast_to_rank(ratio * transition_std, like)

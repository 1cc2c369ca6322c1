"""Linear stochastic differential equations with scalar coefficients.

    dx = drift_coeff(t) x dt + diffusion(t) dw,      t in [0, 1],  0 = data, 1 = prior
    x_t | x_0  ~  N(mean_coeff(t) x_0, std(t)^2 I)

Four scalar functions of time determine everything else: the forward transitions, the reverse-time SDE, the
probability-flow ODE and the prior. Times are float arrays of shape [B] (or scalars); states are [B, ...] of any rank.
"""

import abc
import dataclasses
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from core.keys import draw_normal

ScoreFn = Callable[[Array, Array], Array]  # (x [B, ...], t [B]) -> score [B, ...]
# (x [B, ...], t [B]) -> expectations of the data and of the noise given x, [B, ...] each: a `Predict` of `corruption`
Expect = Callable[[Array, Array], tuple[Array, Array]]


@dataclasses.dataclass(frozen=True)
class SDE(abc.ABC):
    """A linear SDE with scalar coefficients; a subclass defines the four functions and `prior_std`.

    Source: Song et al., "Score-Based Generative Modeling through Stochastic Differential Equations", ICLR 2021,
    equations 5 (forward), 6 (reverse), 13 (probability flow) and 29 (perturbation kernels).
    """

    @abc.abstractmethod
    def drift_coeff(self, t: Array) -> Array:
        """Coefficient of the drift, which is `drift_coeff(t) x`."""

    @abc.abstractmethod
    def diffusion(self, t: Array) -> Array:
        """Scalar factor of `dw`."""

    @abc.abstractmethod
    def mean_coeff(self, t: Array) -> Array:
        """Coefficient of the mean: `E[x_t | x_0] = mean_coeff(t) x_0`."""

    @abc.abstractmethod
    def std(self, t: Array) -> Array:
        """Standard deviation of `x_t | x_0`."""

    @property
    @abc.abstractmethod
    def prior_std(self) -> float:
        """Standard deviation of the prior at t = 1, whose mean is zero."""

    @property
    def is_discrete(self) -> bool:
        """Whether this is a Markov chain of noise levels (`sde.chain`) instead of a process in continuous time."""
        return False

    @property
    def continuous_limit(self) -> "SDE":
        """The SDE in continuous time whose drift and diffusion this process has; itself, unless it is discrete."""
        return self

    @property
    def num_scales(self) -> int:
        """Number of noise levels of a chain. Errors: ValueError in continuous time."""
        raise ValueError(self._no_levels)

    @property
    def level_stds(self) -> tuple[float, ...]:
        """Standard deviations of the noise levels of a chain, starting from the least noise; () in continuous time."""
        return ()

    def index(self, t: Array) -> Array:
        """Noise level of a chain at time t: int32, same shape as t. Errors: ValueError in continuous time."""
        raise ValueError(self._no_levels)

    def time(self, level: Array) -> Array:
        """A time at which a chain is at `level`: float32, same shape. Errors: ValueError in continuous time."""
        raise ValueError(self._no_levels)

    @property
    def _no_levels(self) -> str:
        return f"{type(self).__name__} is defined in continuous time and has no noise levels; use a chain of sde.chain."

    def perturb(self, x0: Array, t: Array, z: Array) -> Array:
        """`x_t = mean_coeff(t) x_0 + std(t) z` for data `x0` [B, ...], times `t` [B], Gaussian noise `z` [B, ...]."""
        return broadcast_to_rank(self.mean_coeff(t), x0) * x0 + broadcast_to_rank(self.std(t), x0) * z

    def transition(self, s: Array, t: Array) -> tuple[Array, Array]:
        """Scale and standard deviation of `x_t | x_s ~ N(scale x_s, std^2 I)` for s <= t.

        scale = mean_coeff(t) / mean_coeff(s),   std^2 = std(t)^2 - scale^2 std(s)^2
        """
        scale = self.mean_coeff(t) / self.mean_coeff(s)
        variance = self.std(t) ** 2 - (scale * self.std(s)) ** 2
        return scale, jnp.sqrt(jnp.maximum(variance, 0.0))  # rounding can make it negative when s = t

    def reverse_drift(self, predict: Expect, x: Array, t: Array) -> Array:
        """Drift of the reverse-time SDE (equation 6): `drift_coeff x - diffusion^2 score`, score = -noise / std."""
        _, noise = predict(x, t)
        drift = broadcast_to_rank(self.drift_coeff(t), x) * x
        return drift + broadcast_to_rank(self.diffusion(t) ** 2, x) * (noise / broadcast_to_rank(self.std(t), x))

    def probability_flow(self, predict: Expect, x: Array, t: Array) -> Array:
        """Drift of the probability-flow ODE (equation 13): `drift_coeff x - diffusion^2 score / 2`."""
        _, noise = predict(x, t)
        drift = broadcast_to_rank(self.drift_coeff(t), x) * x
        return drift + broadcast_to_rank(0.5 * self.diffusion(t) ** 2, x) * (noise / broadcast_to_rank(self.std(t), x))

    def dense_times(self, eps: float) -> Array:
        """Times from 1 down to eps, so dense that the log-SNR is nearly linear between them: [K]."""
        return jnp.geomspace(eps, 1.0, 4096)[::-1]

    def prior_sample(self, keys: Array, shape: Sequence[int]) -> Array:
        """A sample of `N(0, prior_std^2 I)` of `shape` [B, ...]; `keys` is one key, or one per example [B]."""
        return self.prior_std * draw_normal(keys, shape)

    def prior_logp(self, x: Array) -> Array:
        """Log-density in nats of `x` [B, ...] under the prior, summed over all axes but the first: [B]."""
        num_dims = math.prod(x.shape[1:])
        squares = jnp.sum((x / self.prior_std) ** 2, axis=tuple(range(1, x.ndim)))
        return -0.5 * (squares + num_dims * math.log(2 * math.pi * self.prior_std**2))

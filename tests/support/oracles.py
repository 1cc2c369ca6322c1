"""Data with known scores and densities at every time, exact moments of steps, and one compilation for several SDEs."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Gaussian as Prediction
from corruption.predictions import Predict
from sampling.base import Step
from sde.base import SDE, ScoreFn


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """x_0 ~ N(mean, cov) over D dimensions; x_t ~ N(m mean, m^2 cov + std^2 I), in the eigenbasis of cov.

    States are [B, ...] with D dimensions in total after the first axis.
    """

    mean: np.ndarray  # [D]
    cov: np.ndarray  # [D, D]

    def moments(self, sde: SDE, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean [D] and covariance [D, D] of x_t, in double precision."""
        with jax.ensure_compile_time_eval():  # concrete numbers, even if the caller is traced
            m, std = float(sde.mean_coeff(jnp.asarray(t))), float(sde.std(jnp.asarray(t)))
        return m * self.mean, m**2 * self.cov + std**2 * np.eye(len(self.mean))

    def score_fn(self, sde: SDE) -> ScoreFn:
        """The exact score of x_t."""
        values, vectors = np.linalg.eigh(self.cov)

        def score(x: Array, t: Array) -> Array:
            y, variance = self._project(sde, x, t, values, vectors)
            return (-(y / variance) @ jnp.asarray(vectors.T, x.dtype)).reshape(x.shape)

        return score

    def predict(self, sde: SDE) -> Predict:
        """The exact expectations: `x0 = mean + m cov C^-1 (x - m mean)`, `noise = std C^-1 (x - m mean)`, C of x_t."""
        values, vectors = np.linalg.eigh(self.cov)

        def predict(x: Array, t: Array) -> Prediction:
            y, variance = self._project(sde, x, t, values, vectors)
            m, std = broadcast_to_rank(sde.mean_coeff(t), y), broadcast_to_rank(sde.std(t), y)
            fields = (m * jnp.asarray(values, x.dtype)[None] * y / variance, std * y / variance)
            x0, noise = (field @ jnp.asarray(vectors.T, x.dtype) for field in fields)
            return Prediction((jnp.asarray(self.mean, x.dtype)[None] + x0).reshape(x.shape), noise.reshape(x.shape))

        return predict

    def logp(self, sde: SDE, x: Array, t: Array) -> Array:
        """Log-density in nats of x [B, ...] at times t [B]: [B]."""
        values, vectors = np.linalg.eigh(self.cov)
        y, variance = self._project(sde, x, t, values, vectors)
        return -0.5 * jnp.sum(y**2 / variance + jnp.log(2 * math.pi * variance), axis=-1)

    def data_logp(self, x: np.ndarray) -> np.ndarray:
        """Log-density in nats of data x [B, ...], without noise, in double precision: [B]."""
        y = np.asarray(x, np.float64).reshape(len(x), -1) - self.mean
        _, logdet = np.linalg.slogdet(2 * math.pi * self.cov)
        return -0.5 * (np.sum(y @ np.linalg.inv(self.cov) * y, axis=-1) + logdet)

    def sample(self, seed: int, shape: tuple[int, ...]) -> Array:
        """Samples of the data of `shape` [B, ...]."""
        x = np.random.default_rng(seed).multivariate_normal(self.mean, self.cov, shape[0])
        return jnp.asarray(x.reshape(shape), jnp.float32)

    def _project(self, sde: SDE, x: Array, t: Array, values: np.ndarray, vectors: np.ndarray) -> tuple[Array, Array]:
        """Coordinates of x - E[x_t] in the eigenbasis [B, D], and their variances [B, D]."""
        flat = x.reshape(x.shape[0], -1)
        m, std = broadcast_to_rank(sde.mean_coeff(t), flat), broadcast_to_rank(sde.std(t), flat)
        y = (flat - m * jnp.asarray(self.mean, x.dtype)[None]) @ jnp.asarray(vectors, x.dtype)
        return y, m**2 * jnp.asarray(values, x.dtype)[None] + std**2


@dataclasses.dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians: density sum_k w_k N_k, score the average of theirs under the posterior of k."""

    weights: tuple[float, ...]
    parts: tuple[Gaussian, ...]

    def logp(self, sde: SDE, x: Array, t: Array) -> Array:
        """Log-density in nats of x [B, ...] at times t [B]: [B]."""
        return jax.nn.logsumexp(self._terms(sde, x, t), axis=0)

    def score_fn(self, sde: SDE) -> ScoreFn:
        """The exact score of x_t."""
        scores = [part.score_fn(sde) for part in self.parts]

        def average(x: Array, t: Array) -> Array:
            posterior = jax.nn.softmax(self._terms(sde, x, t), axis=0)
            return _average(posterior, [score(x, t) for score in scores])

        return average

    def predict(self, sde: SDE) -> Predict:
        """The exact expectations."""
        predicts = [part.predict(sde) for part in self.parts]

        def predict(x: Array, t: Array) -> Prediction:
            posterior = jax.nn.softmax(self._terms(sde, x, t), axis=0)
            fields = zip(*(predict(x, t) for predict in predicts), strict=True)
            return Prediction(*(_average(posterior, parts) for parts in fields))

        return predict

    def _terms(self, sde: SDE, x: Array, t: Array) -> Array:
        return jnp.stack([math.log(w) + part.logp(sde, x, t) for w, part in zip(self.weights, self.parts, strict=True)])


def _average(weights: Array, values: Sequence[Array]) -> Array:
    """sum_k weights_k values_k of `weights` [K, B] and K `values` [B, ...]."""
    return jnp.stack([broadcast_to_rank(w, v) * v for w, v in zip(weights, values, strict=True)]).sum(axis=0)


def correlated(num_dims: int, spread: float = 1.0, shift: float = 0.0, seed: int = 0) -> Gaussian:
    """A Gaussian with standard deviations from 0.4 to 1 (times `spread`) along random orthonormal axes."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(num_dims, num_dims)))
    stds = spread * np.linspace(0.4, 1.0, num_dims)
    return Gaussian(shift * rng.normal(size=num_dims), basis * stds**2 @ basis.T)


def propagate(
    moves: Sequence[Step],
    predict: Predict,
    sde: SDE,
    start: tuple[Array, Array],
    times: Sequence[float],
    repeat: int = 1,
) -> tuple[Array, Array]:
    """Mean [D] and covariance [D, D] after all `moves` at every step of the grid, `repeat` times.

    With the prediction for a Gaussian, a step whose size depends on neither x nor z is affine: x' = A x + b + c z. A, b
    and c are found by applying the step to the origin and the unit vectors, with noise of ones.
    """
    num_dims = start[0].shape[0]
    probes = jnp.concatenate([jnp.zeros((1, num_dims)), jnp.eye(num_dims)]).astype(start[0].dtype)

    def move(step: Step, state: tuple[Array, Array], t: Array, t_next: Array) -> tuple[Array, Array]:
        at = jnp.full((num_dims + 1,), t), jnp.full((num_dims + 1,), t_next)
        sample = step(jnp.ones_like(probes), predict, sde, probes, *at)
        b, noise = sample.mean[0], (sample.x - sample.mean)[0]
        A = (sample.mean[1:] - b[None]).T
        return A @ state[0] + b, A @ state[1] @ A.T + jnp.diag(noise**2)

    def body(state: tuple[Array, Array], at: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        for step in moves:
            state = move(step, state, *at)
        return state, None

    grid = jnp.tile(jnp.asarray(times)[:-1], repeat), jnp.tile(jnp.asarray(times)[1:], repeat)
    return jax.lax.scan(body, start, grid)[0]


@dataclasses.dataclass(frozen=True)
class OneOf(SDE):
    """The SDE number `which` of `sdes`, where `which` may be traced: a function compiled once serves all of them."""

    sdes: tuple[SDE, ...]
    which: Array

    def drift_coeff(self, t: Array) -> Array:
        return self._choose([sde.drift_coeff(t) for sde in self.sdes])

    def diffusion(self, t: Array) -> Array:
        return self._choose([sde.diffusion(t) for sde in self.sdes])

    def mean_coeff(self, t: Array) -> Array:
        return self._choose([sde.mean_coeff(t) for sde in self.sdes])

    def std(self, t: Array) -> Array:
        return self._choose([sde.std(t) for sde in self.sdes])

    @property
    def prior_std(self) -> Any:
        return self._choose([jnp.asarray(sde.prior_std) for sde in self.sdes])

    def prior_logp(self, x: Array) -> Array:
        return self._choose([sde.prior_logp(x) for sde in self.sdes])

    def _choose(self, values: Sequence[Array]) -> Array:
        return jnp.stack(values)[self.which]


def jit_for_each(sdes: Mapping[str, SDE], fn: Callable[..., Any]) -> Callable[..., Any]:
    """`run(name, *args)`, which is `fn(sdes[name], *args)` compiled once for all `sdes`."""
    names = list(sdes)
    jitted = jax.jit(lambda which, *args: fn(OneOf(tuple(sdes.values()), which), *args))
    return lambda name, *args: jitted(jnp.asarray(names.index(name)), *args)

"""Training examples with noise as starts: the one to which optimal transport takes the sample of the prior."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from core.keys import SampleKey, fold_in
from core.progress import phase
from sampling.starts.noised_data import of_class
from sde.base import SDE

NUM_SAMPLES = 2048  # of the prior, for each step
STEPS_PER_CALL = 50
STEP_SIZE = 0.2  # of the first step, in mean gaps between the largest and the second largest <z, y_i> + h_i
MOMENTUM, SQUARES = 0.9, 0.99  # decays of the means of gradients and of their squares
MAX_SCORES = 2**24  # numbers <z, y_i> in memory at a time
MAX_DIMS = 1024  # up to which the covariance of the targets is used
MEASURED, MAX_MEASURED = 512, 2**17  # samples of the prior for each target, and in all, from which masses are measured
EXCLUDED = -1e30  # the potential of what is no target


class Cells(NamedTuple):
    """The potential h [N] of a map, and how its cells come out: `mass_error` = sum_i |w_i - 1/N| of measured masses w.

    `sampling_error`: what it would be of perfect cells, because w is measured with a finite number of samples.
    """

    potential: np.ndarray
    mass_error: float
    sampling_error: float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OptimalTransport:
    """Starts at T(z) = y_i of the cell of z: a map from the prior onto `targets` y [N, ...], with classes `labels` [N].

        T(z) = grad u(z),    u(z) = max_i (<z, y_i> + h_i),    z = x_1 / prior_std

    h [N]: the `potential` of `fit` for each class, for which all cells of a class have the same mass. The samples are
    those of the targets, as with `NoisedData`, but which one belongs to a sample of the prior is no longer random: it
    is a near one.

    With `num_cells` K > 1 the map is extended to a continuous one, from the cells i_1 ... i_K of the largest scores:

        T(z) = sum_k w_k y_{i_k} / sum_k w_k,    w_k = 1 / |z - c_{i_k}|, or 0 for a singular pair (i_1, i_k)

    c [N, D]: the `centers` of the cells. A pair is singular, its boundary a jump of the map, where the angle between
    its images y is more than `largest_angle`, in radians. Means of targets have less noise than targets.
    Source: Li et al., "DPM-OT: A New Diffusion Probabilistic Model Based on Optimal Transport", ICCV 2023, section 4;
    the extension and its singular pairs: An et al. (AE-OT), ICLR 2020, section 3.
    Notes: the published code takes the targets from the test split, and z from a uniform distribution.
    """

    targets: Array
    labels: Array
    potential: Array
    centers: Array | None = None
    num_cells: int = dataclasses.field(default=1, metadata={"static": True})
    largest_angle: float = dataclasses.field(default=0.0, metadata={"static": True})

    def __call__(self, sde: SDE, keys: Array, shape: Sequence[int], asked: Array | None) -> Array:
        """x [B, ...] at the time of the targets, each of the class `asked` [B]; None: of the class of any target."""
        z = sde.prior_sample(fold_in(keys, SampleKey.PRIOR), shape) / sde.prior_std
        if asked is None:  # the potentials of two classes have no common zero
            num, own = len(self.labels), fold_in(keys, SampleKey.TARGET)
            asked = self.labels[jax.vmap(lambda key: jax.random.randint(key, (), 0, num))(own)]
        return self.targets[self.cell(z, asked)] if self.centers is None else self.extended(z, asked)

    def extended(self, z: Array, asked: Array | None = None) -> Array:
        """The continuous map at z [B, ...]."""
        assert self.centers is not None
        y, flat = self.targets.reshape(len(self.targets), -1), z.reshape(len(z), -1)
        scores, i = jax.lax.top_k(of_class(_scores(flat, y, self.potential), self.labels, asked), self.num_cells)
        image = y[i]  # [B, K, D]
        mixed = (angles(image[:, :1], image) <= self.largest_angle) & (scores > 0.5 * EXCLUDED)
        mixed = mixed.at[:, 0].set(True)  # a pair of a cell with itself; rounding may say otherwise
        distance = jnp.linalg.norm(flat[:, None] - self.centers[i], axis=-1)
        w = jnp.where(mixed, 1 / jnp.maximum(distance, 1e-6), 0.0)
        mean = jnp.sum(w[..., None] * image, axis=1) / jnp.sum(w, axis=1, keepdims=True)
        return mean.reshape(z.shape)

    def singular(self, z: Array, asked: Array | None = None) -> Array:
        """Whether the two cells of the largest scores at z [B, ...] are a singular pair, bool [B]."""
        y = self.targets.reshape(len(self.targets), -1)
        scores = of_class(_scores(z.reshape(len(z), -1), y, self.potential), self.labels, asked)
        image = y[jax.lax.top_k(scores, 2)[1]]
        return angles(image[:, 0], image[:, 1]) > self.largest_angle

    def cell(self, z: Array, asked: Array | None = None) -> Array:
        """The indices [B] of the cells of z [B, ...]."""
        scores = _scores(z.reshape(len(z), -1), self.targets.reshape(len(self.targets), -1), self.potential)
        return jnp.argmax(of_class(scores, self.labels, asked), axis=1)


def angles(a: Array, b: Array) -> Array:
    """The angles between vectors [..., D], in radians."""
    cos = jnp.sum(a * b, axis=-1) / (jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1))
    return jnp.arccos(jnp.clip(cos, -1.0, 1.0))


class _State(NamedTuple):
    h: Array
    gradient: Array  # decaying mean
    square: Array  # decaying mean, over targets and steps
    average: Array  # of h


def fit(key: Array, y: Array, is_target: np.ndarray | None = None, *, num_steps: int = 2000) -> Cells:
    """The potential h [N] for which all cells of a standard normal z have the same mass, for targets y [N, D].

        minimize E(h) = E_z max_i (<z, y_i> + h_i) - mean_i h_i,    dE/dh_i = w_i - 1/N,    w_i = P(z in cell i)

    by stochastic gradients with momentum, whose length falls to zero; h is the average over the second half of the
    steps. They begin at zero, or at the potential for Gaussian targets where that is nearer. Rows of y that are no
    targets (`is_target` [N]) have no cell. Memory is that of y and of `MAX_SCORES` numbers.
    Source: Genevay et al., "Stochastic Optimization for Large-scale Optimal Transport", NeurIPS 2016, section 4
    (averaged stochastic gradients); An et al. (AE-OT), ICLR 2020, algorithm 1 (with the moments of Adam).
    """
    real = np.ones(len(y), bool) if is_target is None else is_target
    share = jnp.asarray(real / real.sum(), jnp.float32)
    state, step_size = _begin(key, y, share, jnp.asarray(_candidates(np.asarray(y), real)))
    with phase("optimal transport", num_steps, "step") as shown:
        for start in range(0, num_steps, STEPS_PER_CALL):
            steps = jnp.asarray(np.arange(start, min(start + STEPS_PER_CALL, num_steps), dtype=np.int32))
            state = _descend(key, y, share, state, step_size, steps, num_steps)
            state.h.block_until_ready()
            shown.advance(len(steps))
    error, sampling_error = _errors(key, y, share, state.average)
    return Cells(np.asarray(state.average), float(error), float(sampling_error))


@functools.partial(jax.jit, static_argnames="num")
def masses(key: Array, y: Array, h: Array, num: int) -> Array:
    """w [N], the share of each cell among `num` samples z, rounded up to whole blocks of them."""
    size = min(num, max(1, MAX_SCORES // len(y)))
    blocks = -(-num // size)

    def add(w: Array, block: Array) -> tuple[Array, None]:
        scores = _scores(_prior(fold_in(key, block), size, y), y, h)
        largest = scores == scores.max(1, keepdims=True)
        return w + largest.astype(jnp.float32).mean(0) / blocks, None  # sums over all of z are faster than an argmax

    return jax.lax.scan(add, jnp.zeros(len(y)), jnp.arange(blocks))[0]


@functools.partial(jax.jit, static_argnames="num")
def centers(key: Array, y: Array, h: Array, num: int) -> Array:
    """c [N, D], the mean of z in each cell, from `num` samples in whole blocks; 0 for a cell without any."""
    size = min(num, max(1, MAX_SCORES // len(y)))

    def add(sums: tuple[Array, Array], block: Array) -> tuple[tuple[Array, Array], None]:
        z = _prior(fold_in(key, block), size, y)
        scores = _scores(z, y, h)
        largest = (scores == scores.max(1, keepdims=True)).astype(jnp.float32)
        return (sums[0] + jnp.matmul(largest.T, z, precision="highest"), sums[1] + largest.sum(0)), None

    start = jnp.zeros(y.shape), jnp.zeros(len(y))
    total, count = jax.lax.scan(add, start, jnp.arange(-(-num // size)))[0]
    return total / jnp.maximum(count, 1)[:, None]


@jax.jit
def _descend(
    key: Array, y: Array, share: Array, state: _State, step_size: Array, steps: Array, num_steps: int
) -> _State:
    """The steps with the numbers `steps` [n] of `num_steps`."""

    def step(state: _State, k: Array) -> tuple[_State, None]:
        found = (masses(fold_in(fold_in(key, 2), k), y, state.h, NUM_SAMPLES) - share) / share.max()
        gradient = MOMENTUM * state.gradient + (1 - MOMENTUM) * found
        square = SQUARES * state.square + (1 - SQUARES) * jnp.sum(share * found**2)
        unbiased = gradient / (1 - MOMENTUM ** (k + 1)), square / (1 - SQUARES ** (k + 1))
        length = step_size * jnp.cos(0.5 * jnp.pi * k / num_steps)
        h = state.h - length * unbiased[0] / jnp.sqrt(unbiased[1] + 1e-12)
        since = jnp.maximum(k - num_steps // 2, 0)
        return _State(h, gradient, square, state.average + (h - state.average) / (since + 1)), None

    return jax.lax.scan(step, state, steps)[0]


def _candidates(y: np.ndarray, real: np.ndarray) -> np.ndarray:
    """First potentials: zero, and -(y - m)^T C^(-1/2) (y - m) / 2 for targets of mean m and covariance C."""
    outside = np.where(real, 0.0, EXCLUDED).astype(np.float32)
    if y.shape[1] > MAX_DIMS:
        return outside[None]
    centered = np.asarray(y, np.float64) - y[real].mean(0, dtype=np.float64)[None]
    variances, vectors = np.linalg.eigh(centered[real].T @ centered[real] / real.sum())
    parts = (centered @ vectors) ** 2 / np.sqrt(np.maximum(variances, 1e-12 * variances.max()))[None]
    return np.stack([outside, (outside - 0.5 * parts.sum(1)).astype(np.float32)])


@jax.jit
def _begin(key: Array, y: Array, share: Array, candidates: Array) -> tuple[_State, Array]:
    """The best of first potentials [K, N], and the size of steps in terms of the mean gap of the two largest scores."""
    errors = jnp.stack([jnp.abs(masses(fold_in(key, 0), y, h, NUM_SAMPLES) - share).sum() for h in candidates])
    h = candidates[jnp.argmin(errors)]
    scores = _scores(_prior(fold_in(key, 1), min(NUM_SAMPLES, max(1, MAX_SCORES // len(y))), y), y, h)
    first, second = jax.lax.top_k(scores, 2)[0].mean(0)
    return _State(h, jnp.zeros_like(h), jnp.zeros(()), h), STEP_SIZE * (first - second)


@jax.jit
def _errors(key: Array, y: Array, share: Array, h: Array) -> tuple[Array, Array]:
    """The error of the masses of cells, and how much of it is because they are measured."""
    num = min(MAX_MEASURED, MEASURED * len(y))
    error = jnp.abs(masses(fold_in(key, 3), y, h, num) - share).sum()
    return error, jnp.sqrt(2 * share * (1 - share) / (jnp.pi * num)).sum()


def _prior(key: Array, num: int, y: Array) -> Array:
    return jax.random.normal(key, (num, y.shape[1]))


def _scores(z: Array, y: Array, h: Array) -> Array:
    """<z, y_i> + h_i [B, N]."""
    return jnp.matmul(z, y.T, precision="highest") + h[None]

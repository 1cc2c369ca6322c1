"""Masks of residual tokens: of every position the deepest ones, which are the finest, are masked first."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.keys import CategoryKey, fold_in
from corruption import mixture, residual
from corruption.categorical import choose_states
from corruption.predictions import Categorical, Mixture
from corruption.schedules import Schedule

ROUNDING = 1e-4  # of a number of tokens, which is not to be rounded up to one more
SMALLEST_RADIUS = 1e-5  # where tokens do not come back from the sum of their codes


class TokenModel(Protocol):
    """What a prediction says of the masked tokens of x [B, *sides, D]; the mask is the state K."""

    def draw(self, keys: Array, prediction: Any, x: Array) -> tuple[Array, Array]:
        """A sample of the tokens [B, *sides, D], and how sure it is at each position, [B, *sides], in nats."""
        ...

    def nats(self, prediction: Any, x0: Array, x: Array) -> Array:
        """The -log-probability of each masked token given those before it at its position, [B, *sides, D]; or more."""
        ...


@dataclasses.dataclass(frozen=True)
class IndependentTokens:
    """Each masked token by itself: predictions are `Categorical`, log-probabilities [B, *sides, D, K]."""

    num_categories: int

    def draw(self, keys: Array, prediction: Categorical, x: Array) -> tuple[Array, Array]:
        """Tokens, and the mean log-probability of those that are masked."""
        tokens, masked = choose_states(keys, prediction.log_probs), x == self.num_categories
        log_probs = jnp.where(masked, -self._nats(prediction, tokens), 0.0)
        return tokens, jnp.sum(log_probs, axis=-1) / jnp.maximum(jnp.sum(masked, axis=-1), 1)

    def nats(self, prediction: Categorical, x0: Array, x: Array) -> Array:
        """`-log p(x0)` of each masked token."""
        return jnp.where(x == self.num_categories, self._nats(prediction, x0), 0.0)

    def _nats(self, prediction: Categorical, tokens: Array) -> Array:
        return -jnp.take_along_axis(prediction.log_probs, tokens[..., None], axis=-1)[..., 0]


@dataclasses.dataclass(frozen=True)
class SummedTokens:
    """All masked tokens of a position at once, by the sum z of their codes: predictions are a `Mixture` for z.

        p(tokens | x) = P(z is quantized to them),    z_i ~ sum_c w_c N(mean_c, std_c^2) at position i

    vectors: the codebook [D, K, d]. -log of that probability is at most `mixture.ball_nats` of the largest ball around
    the sum that is quantized to the tokens; it counts for the first masked token, and the others follow from z.
    Source: Kim et al., "Efficient Generative Modeling with Residual Vector Quantization-Based Tokens", ICML 2025.
    Notes: published is -log of the density at the sum, the limit of small balls without the constant. It has no lower
    bound, because the sums of few tokens are few vectors, on which components can become arbitrarily narrow.
    """

    vectors: Array

    def draw(self, keys: Array, prediction: Mixture, x: Array) -> tuple[Array, Array]:
        """Tokens of a sample of z, and the log-density of z in units of its scale, by which positions compare."""
        z, counts = mixture.draw(keys, prediction), masked_counts(x, self.num_categories)
        scale = scales(self.vectors)[counts]
        log_density = mixture.log_density(prediction, z) + self.vectors.shape[-1] * jnp.log(scale)
        return residual.quantized(self.vectors, z, x.shape[-1] - counts), log_density

    def nats(self, prediction: Mixture, x0: Array, x: Array) -> Array:
        """The bound on -log p of all masked tokens, at the first of them."""
        depth, counts = x.shape[-1], masked_counts(x, self.num_categories)
        masked, first = x == self.num_categories, depth - counts
        z = residual.total(self.vectors, jnp.where(masked, x0, self.num_categories))
        radius = residual.cell_radius(self.vectors, x0, first)
        found = mixture.ball_nats(prediction, z, jnp.where(counts > 0, jnp.maximum(radius, SMALLEST_RADIUS), 1.0))
        at_first = masked & (residual.trailing(jnp.arange(depth), x.ndim) == first[..., None])
        return jnp.where(at_first, found[..., None], 0.0)

    @property
    def num_categories(self) -> int:
        """K."""
        return self.vectors.shape[1]


@dataclasses.dataclass(frozen=True)
class DepthMask:
    """A `Process` (see `corruption.base.Process`) of tokens x [B, *sides, D]; L positions, the mask is the state K.

        n(t) = ceil(noise(t) L D) tokens are masked; how many of each position, is multivariate hypergeometric:
        n of the L D tokens are chosen at random, and position i loses its k_i deepest ones, k_i chosen ones

    A reverse step chooses those that stay masked among the masked ones in the same way, so that the chain of any grid
    of times has these marginals. The target is x0. Source: Kim et al., ICML 2025, section 3.1.
    """

    num_categories: int
    schedule: Schedule
    tokens: TokenModel

    @property
    def is_discrete(self) -> bool:
        """False: the data are at time 0."""
        return False

    @property
    def mask(self) -> int:
        """The state of a masked token, K."""
        return self.num_categories

    def num_masked(self, t: Array, num_tokens: int) -> Array:
        """`ceil(noise(t) num_tokens)`, int32."""
        return jnp.ceil(self.schedule.noise(t) * num_tokens - ROUNDING).astype(jnp.int32)

    def prior(self, keys: Array, shape: Sequence[int]) -> Array:
        """Masks."""
        return jnp.full(tuple(shape), self.mask, jnp.int32)

    def corrupt(self, keys: Array, x0: Array, t: Array) -> tuple[Array, Array]:
        """x at times t, and x0."""
        n, counts = self.num_masked(t, x0[0].size), jnp.full(x0.shape[:-1], x0.shape[-1])
        return self.hidden(x0, chosen_counts(uniform_scores(keys, x0.shape), counts, n)), x0

    def hidden(self, x: Array, counts: Array) -> Array:
        """x with the `counts` [B, *sides] deepest tokens of each position masked."""
        depth = residual.trailing(jnp.arange(x.shape[-1]), x.ndim)
        return jnp.where(depth >= x.shape[-1] - counts[..., None], self.mask, x)

    def error(self, prediction: Categorical, target: Array, t: Array) -> Array:
        """`-log p(x0)` of every token by itself, in nats."""
        return -jnp.take_along_axis(prediction.log_probs, target[..., None], axis=-1)[..., 0]

    def reverse_step(self, keys: Array, prediction: Any, x: Array, t: Array, t_next: Array) -> tuple[Array, Array]:
        """x at t_next, where tokens in random order are shown as they are sampled; twice, as it has no expectation."""
        tokens, _ = self.tokens.draw(fold_in(keys, CategoryKey.WHICH), prediction, x)
        x = self.shown(tokens, uniform_scores(fold_in(keys, CategoryKey.WHETHER), x.shape), x, t_next)
        return x, x

    def shown(self, tokens: Array, scores: Array, x: Array, t_next: Array) -> Array:
        """x with its masked tokens replaced by `tokens`, but for n(t_next) of them: those of the lowest scores."""
        counts = masked_counts(x, self.mask)
        n = self.num_masked(t_next, x[0].size)
        filled = jnp.where(x == self.mask, tokens, x)
        return self.hidden(filled, chosen_counts(scores, counts, n)).astype(x.dtype)

    def step_nats(self, prediction: Any, x0: Array, x: Array, t: Array, t_next: Array) -> Array:
        """`-log p(tokens that are shown | x)`, in expectation over which ones are: [B] in nats.

        The l-th masked token of a position with k of n masked tokens is shown with probability P(m >= l), where m of
        its k are among the n - n(t_next) that are, hypergeometrically.
        """
        counts = masked_counts(x, self.mask)
        n = jnp.sum(counts.reshape(len(x), -1), axis=-1)
        shown = n - jnp.minimum(n, self.num_masked(t_next, x[0].size))
        at_least = _tails(counts, n, shown, x.shape[-1])  # [B, *sides, D]: of 1 ... D tokens
        rank = residual.trailing(jnp.arange(x.shape[-1]), x.ndim) - (x.shape[-1] - counts)[..., None]
        weight = jnp.take_along_axis(at_least, jnp.maximum(rank, 0), axis=-1)
        nats = jnp.where(rank >= 0, weight * self.tokens.nats(prediction, x0, x), 0.0)
        return jnp.sum(nats.reshape(len(x), -1), axis=-1)

    def prior_nats(self, x0: Array) -> Array:
        """Zero: at t = 1 nothing is left of the data."""
        return jnp.zeros(x0.shape[:1])


def masked_counts(x: Array, mask: int) -> Array:
    """How many tokens of each position are masked, [B, *sides], int32."""
    return jnp.sum(x == mask, axis=-1).astype(jnp.int32)


def uniform_scores(keys: Array, shape: Sequence[int]) -> Array:
    """A uniform number for each token, [B, *sides, D]."""
    return jax.vmap(lambda key: jax.random.uniform(key, tuple(shape[1:])))(keys)


def chosen_counts(scores: Array, counts: Array, n: Array) -> Array:
    """How many of the `counts` [B, *sides] tokens of each position are among the n [B] with the lowest scores.

    scores: [B, *sides, D]; the first `counts` of each position are read. For equal distributions it is uniform.
    """
    reads = residual.trailing(jnp.arange(scores.shape[-1]), scores.ndim) < counts[..., None]
    flat = jnp.where(reads, scores, jnp.inf).reshape(len(scores), -1)
    rank = jnp.argsort(jnp.argsort(flat, axis=-1), axis=-1).reshape(scores.shape)
    lowest = rank < n.reshape(-1, *(1,) * (scores.ndim - 1))
    return jnp.sum(lowest & reads, axis=-1).astype(jnp.int32)


def scales(vectors: Array) -> Array:
    """The root mean square of a coordinate of a sum of the k deepest codes, k = 0 ... D: [D + 1].

    If all codes are used alike; 1 for k = 0, where the sum is zero.
    """
    deepest = jnp.cumsum(jnp.flip(jnp.mean(vectors**2, axis=(1, 2))))
    return jnp.sqrt(jnp.concatenate([jnp.ones(1), jnp.maximum(deepest, 1e-12)]))


def _tails(counts: Array, n: Array, shown: Array, depth: int) -> Array:
    """P(m >= l) for l = 1 ... depth, m hypergeometric: `shown` [B] of n [B], where `counts` [B, *sides] are special.

    P(m = a) = C(counts, a) C(n - counts, shown - a) / C(n, shown)
    """
    wide = (-1, *(1,) * counts.ndim)
    k, a = counts[..., None], residual.trailing(jnp.arange(depth + 1), counts.ndim + 1)
    n, shown = n.reshape(wide), shown.reshape(wide)
    log_p = _log_choose(k, a) + _log_choose(n - k, shown - a) - _log_choose(n, shown)
    p = jnp.where((a <= k) & (shown - a >= 0) & (shown - a <= n - k), jnp.exp(log_p), 0.0)
    return jnp.flip(jnp.cumsum(jnp.flip(p, -1), axis=-1), -1)[..., 1:]


def _log_choose(n: Array, k: Array) -> Array:
    """The logarithm of a binomial coefficient, with arguments outside of its range moved into it."""
    n = jnp.maximum(n, 0)
    k = jnp.clip(k, 0, n)
    return (
        jax.scipy.special.gammaln(n + 1.0) - jax.scipy.special.gammaln(k + 1.0) - jax.scipy.special.gammaln(n - k + 1.0)
    )

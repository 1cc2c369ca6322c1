"""Categorical noise: sites of K categories lose their data, to a random category or to a mask.

    q(z_t | x0) = Cat(kept(t) x0 + noise(t) pi),    pi: uniform over the categories, or all on the mask

A site that has lost its data does so for good: q(z_t | z_s) has the same form, with kept(t) / kept(s). Categories are
0 ... K - 1, the mask is K. `z` is x of other processes: integers [B, ...]; predictions are of every site.
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank
from core.keys import CategoryKey, fold_in
from corruption.predictions import Categorical
from corruption.schedules import SMALLEST, Schedule

NEVER = -1e9  # the logarithm of a probability of zero; finite, so that predictions can be subtracted


@dataclasses.dataclass(frozen=True)
class CategoricalNoise(abc.ABC):
    """A `Process` (see `corruption.base.Process`) for sites of `num_categories` categories, in continuous time.

    The target of a prediction is x0. A process on a grid of times is this one at those times: any sampler's.
    """

    num_categories: int
    schedule: Schedule

    @property
    def is_discrete(self) -> bool:
        """False: the data are at time 0."""
        return False

    @property
    @abc.abstractmethod
    def num_states(self) -> int:
        """The number of states of a site: categories, and the mask if there is one."""

    @abc.abstractmethod
    def prior(self, keys: Array, shape: Sequence[int]) -> Array:
        """z at t = 1, which is independent of the data."""

    @abc.abstractmethod
    def posterior(self, logits: Array, z: Array, t: Array) -> Categorical:
        """The prediction `p(x0 | z) proportional to q(z | x0) exp(logits)`: `logits` [B, ..., K] are of a prior.

        What a site itself tells of its data is known exactly; a network predicts what its surroundings tell.
        """

    @abc.abstractmethod
    def reverse_probs(self, prediction: Categorical, z: Array, t: Array, t_next: Array) -> Array:
        """`p(z_s | z_t)`, s = t_next < t, of every site: [B, ..., num_states]."""

    @abc.abstractmethod
    def rate_nats(self, prediction: Categorical, x0: Array, z: Array, t: Array) -> Array:
        """The integrand over t of the bound on -log p(x0) in continuous time, for z at times t: [B], in nats."""

    @abc.abstractmethod
    def clamp(self, keys: Array, x0: Array, t: Array) -> Array:
        """z at times t of sites whose data x0 are known, for a sampler of the others; consumes the keys."""

    def lost(self, z: Array, t: Array) -> Array:
        """The share of sites of z that have lost their data, [B]: here expected, `noise(t)`."""
        return self.schedule.noise(t)

    def corrupt(self, keys: Array, x0: Array, t: Array) -> tuple[Array, Array]:
        """z at times t, and x0."""
        lost = _uniform(fold_in(keys, CategoryKey.WHETHER), x0.shape) < broadcast_to_rank(self.schedule.noise(t), x0)
        return jnp.where(lost, self.prior(fold_in(keys, CategoryKey.WHICH), x0.shape), x0), x0

    def error(self, prediction: Categorical, target: Array, t: Array) -> Array:
        """`-log p(x0)` of every site, in nats."""
        return -jnp.take_along_axis(prediction.log_probs, target[..., None], axis=-1)[..., 0]

    def reverse_step(
        self, keys: Array, prediction: Categorical, x: Array, t: Array, t_next: Array
    ) -> tuple[Array, Array]:
        """A sample of every site of `reverse_probs`, by the Gumbel maximum; twice, because it has no expectation."""
        z = choose_states(keys, jnp.log(self.reverse_probs(prediction, x, t, t_next))).astype(x.dtype)
        return z, z

    def step_nats(self, prediction: Categorical, x0: Array, z: Array, t: Array, t_next: Array) -> Array:
        """`KL(q(z_s | z_t, x0) | p(z_s | z_t))`, s = t_next: [B] in nats; at the data it is -log p(x0 | z_t)."""
        q = self.reverse_probs(certain(x0, self.num_categories), z, t, t_next)
        p = self.reverse_probs(prediction, z, t, t_next)
        nats = jnp.where(q > 0, q * (jnp.log(jnp.where(q > 0, q, 1.0)) - jnp.log(jnp.where(q > 0, p, 1.0))), 0.0)
        return _sum(jnp.sum(nats, axis=-1))

    def prior_nats(self, x0: Array) -> Array:
        """Zero: at t = 1 nothing is left of the data."""
        return jnp.zeros(x0.shape[:1])


@dataclasses.dataclass(frozen=True)
class Uniform(CategoricalNoise):
    """A site that has lost its data has a uniformly distributed category.

    `kernel`: of the reverse steps. "mixture" averages the exact posteriors over the prediction,

        p(z_s | z_t) = sum_x0 q(z_s | z_t, x0) p(x0 | z_t)
                     proportional to q(z_t | z_s) [kept_s w(z_s) + noise_s / K sum(w)],    w = p(x0 | z_t) / q(z_t | x0)

    "plug_in" inserts the probabilities into the posterior, w = p(x0 | z_t). That is not Bayes' rule: with the exact
    prediction its samples have another distribution than the data, for any number of steps.
    Source: Austin et al., NeurIPS 2021 (D3PM), equation 4; plug-in: Hoogeboom et al., NeurIPS 2021, section 4.
    """

    kernel: Literal["mixture", "plug_in"] = "mixture"

    @property
    def num_states(self) -> int:
        """K."""
        return self.num_categories

    def prior(self, keys: Array, shape: Sequence[int]) -> Array:
        """Uniform categories."""
        draw = jax.vmap(lambda key: jax.random.randint(key, tuple(shape[1:]), 0, self.num_categories))
        return draw(keys)

    def posterior(self, logits: Array, z: Array, t: Array) -> Categorical:
        """`log_softmax(logits + log(1 + K kept / noise) at z)`."""
        schedule, K = self.schedule, self.num_categories
        ratio = K * schedule.kept(t) / jnp.maximum(schedule.noise(t), SMALLEST)
        own = broadcast_to_rank(jnp.log1p(ratio), logits) * jax.nn.one_hot(z, K)
        return Categorical(jax.nn.log_softmax(logits + own))

    def reverse_probs(self, prediction: Categorical, z: Array, t: Array, t_next: Array) -> Array:
        """The mixture, or the plug-in kernel."""
        schedule, K, at_z = self.schedule, self.num_categories, jax.nn.one_hot(z, self.num_categories)
        kept, noise = (broadcast_to_rank(f(t_next), at_z) for f in (schedule.kept, schedule.noise))
        step = broadcast_to_rank(schedule.kept(t) / schedule.kept(t_next), at_z)
        w = self._weights(prediction, z, t) if self.kernel == "mixture" else jnp.exp(prediction.log_probs)
        total = jnp.sum(w, axis=-1, keepdims=True)
        probs = (step * at_z + (1 - step) / K) * (kept * w + noise / K * total)
        return probs / jnp.sum(probs, axis=-1, keepdims=True)

    def rate_nats(self, prediction: Categorical, x0: Array, z: Array, t: Array) -> Array:
        """The difference between the rates at which a site leaves z for y, with x0 and with the prediction.

            slope / (K kept) sum_{y != z} [r_p(y) - r(y) + r(y) log(r(y) / r_p(y))]
            r_p(y) = sum_x0 p(x0 | z) q(y | x0) / q(z | x0) = kept w(y) + noise / K sum(w),    r of x0 likewise

        Source: Campbell et al., NeurIPS 2022, proposition 2; Lou et al., ICML 2024 (SEDD), theorem 3.6.
        """
        schedule, K = self.schedule, self.num_categories
        kept, noise = (broadcast_to_rank(f(t), x0)[..., None] for f in (schedule.kept, schedule.noise))

        def rates(prediction: Categorical) -> Array:
            w = self._weights(prediction, z, t)
            return kept * w + noise / K * jnp.sum(w, axis=-1, keepdims=True)

        r, r_p = rates(certain(x0, K)), rates(prediction)
        d = (r_p - r) / r
        # r_p / r = 1 + d; each form where it keeps its digits
        log_ratio = jnp.where(jnp.abs(d) < 0.5, jnp.log1p(jnp.clip(d, -0.5, 0.5)), jnp.log(r_p / r))
        terms = jnp.where(jax.nn.one_hot(z, K) > 0, 0.0, r * (d - log_ratio))
        return schedule.slope(t) / (K * jnp.maximum(schedule.kept(t), SMALLEST)) * _sum(jnp.sum(terms, axis=-1))

    def clamp(self, keys: Array, x0: Array, t: Array) -> Array:
        """As much corrupted as all other sites."""
        return self.corrupt(keys, x0, t)[0]

    def _weights(self, prediction: Categorical, z: Array, t: Array) -> Array:
        """`w(x0) = p(x0 | z) / q(z | x0)`, [B, ..., K]."""
        K, like = self.num_categories, prediction.log_probs
        kept, noise = (broadcast_to_rank(f(t), like) for f in (self.schedule.kept, self.schedule.noise))
        return jnp.exp(like) / (kept * jax.nn.one_hot(z, K) + jnp.maximum(noise, SMALLEST) / K)


@dataclasses.dataclass(frozen=True)
class Absorbing(CategoricalNoise):
    """A site that has lost its data is masked; both reverse kernels of `Uniform` are then the same.

    `remasking`: how often a reverse step masks a site again that is not masked, as a share of the largest possible
    probability, min(1, noise_s / kept_t). The marginals are the same for any share; mistakes can be corrected.
    Source: Shi et al., NeurIPS 2024 (MD4), Sahoo et al., NeurIPS 2024 (MDLM); remasking: Wang et al. 2025 (ReMDM).
    """

    remasking: float = 0.0

    @property
    def num_states(self) -> int:
        """K + 1."""
        return self.num_categories + 1

    @property
    def mask(self) -> int:
        """The state of a masked site, K."""
        return self.num_categories

    def lost(self, z: Array, t: Array) -> Array:
        """The share of masked sites, counted.

        The data given z do not depend on t, and it would mislead a network where sites are known, in inpainting.
        Source: Ou et al., ICLR 2025 (RADD), theorem 1.
        """
        return jnp.mean((z == self.mask).reshape(len(z), -1), axis=1)

    def prior(self, keys: Array, shape: Sequence[int]) -> Array:
        """Masks."""
        return jnp.full(tuple(shape), self.mask, jnp.int32)

    def posterior(self, logits: Array, z: Array, t: Array) -> Categorical:
        """`log_softmax(logits)` of masked sites; the others are known."""
        masked = (z == self.mask)[..., None]
        return Categorical(jnp.where(masked, jax.nn.log_softmax(logits), certain(z, self.num_categories).log_probs))

    def reverse_probs(self, prediction: Categorical, z: Array, t: Array, t_next: Array) -> Array:
        """A masked site stays masked with probability noise_s / noise_t, and otherwise follows the prediction.

        With `sigma = remasking min(1, noise_s / kept_t)` it does so with probability (noise_s - sigma kept_t) /
        noise_t, and a site that is not masked becomes so with probability sigma.
        """
        noise, noise_next = self.schedule.noise(t), self.schedule.noise(t_next)
        kept = jnp.maximum(self.schedule.kept(t), SMALLEST)
        sigma = self.remasking * jnp.minimum(1.0, noise_next / kept)
        stays = broadcast_to_rank((noise_next - sigma * kept) / noise, z)
        masked = jnp.where(z == self.mask, jnp.maximum(stays, 0.0), broadcast_to_rank(sigma, z))[..., None]
        return jnp.concatenate([(1 - masked) * jnp.exp(prediction.log_probs), masked], axis=-1)

    def rate_nats(self, prediction: Categorical, x0: Array, z: Array, t: Array) -> Array:
        """`slope / noise` times -log p(x0) of the masked sites. Source: Shi et al., NeurIPS 2024, equation 4."""
        nats = jnp.where(z == self.mask, self.error(prediction, x0, t), 0.0)
        return self.schedule.slope(t) / self.schedule.noise(t) * _sum(nats)

    def clamp(self, keys: Array, x0: Array, t: Array) -> Array:
        """The data themselves: which sites are masked tells nothing."""
        return x0


def certain(x0: Array, num_categories: int) -> Categorical:
    """The prediction that is sure of x0 [B, ...]."""
    return Categorical(NEVER * (1 - jax.nn.one_hot(x0, num_categories)))


def choose_states(keys: Array, log_probs: Array) -> Array:
    """A sample of every site from log-probabilities [B, ..., S], up to a constant: int32 [B, ...]."""
    gumbel = jax.vmap(lambda key: jax.random.gumbel(key, log_probs.shape[1:]))(keys)
    return jnp.argmax(log_probs + gumbel, axis=-1).astype(jnp.int32)


def _uniform(keys: Array, shape: Sequence[int]) -> Array:
    return jax.vmap(lambda key: jax.random.uniform(key, tuple(shape[1:])))(keys)


def _sum(sites: Array) -> Array:
    """The sum over the sites of each example, [B]."""
    return jnp.sum(sites.reshape(len(sites), -1), axis=-1)

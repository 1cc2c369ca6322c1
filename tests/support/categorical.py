"""An absorbing process of categories, whose exact predictions are found by enumeration."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from core.keys import fold_in
from corruption.predictions import Categorical


def uniform(keys, shape):
    """Uniform numbers of `shape` [B, ...], each example from its own key."""
    return jax.vmap(lambda key: jax.random.uniform(key, shape[1:]))(keys)


@dataclasses.dataclass(frozen=True)
class Absorbing:
    """Each site of x0, in 0 ... K - 1, is replaced by the mask K with probability t; a `Process`."""

    num_categories: int
    is_discrete: bool = False

    def prior(self, keys, shape):
        return jnp.full(shape, self.num_categories, jnp.int32)

    def corrupt(self, keys, x0, t):
        return jnp.where(uniform(keys, x0.shape) < t[:, None], self.num_categories, x0), x0

    def error(self, prediction, target, t):
        return -jnp.take_along_axis(prediction.log_probs, target[..., None], axis=-1)[..., 0]

    def reverse_step(self, keys, prediction, x, t, t_next):
        """A masked site keeps its mask with probability t_next / t, or else takes a category: a Gumbel argmax."""
        gumbel = jax.vmap(lambda key: jax.random.gumbel(key, prediction.log_probs.shape[1:]))(fold_in(keys, 0))
        shown = jnp.argmax(prediction.log_probs + gumbel, axis=-1).astype(x.dtype)
        keeps = uniform(fold_in(keys, 1), x.shape) < (t_next / t)[:, None]
        x = jnp.where((x == self.num_categories) & ~keeps, shown, x)
        return x, x


@dataclasses.dataclass(frozen=True)
class JointTable:
    """Data x0 [B, D] of probability `table[x0]`, [K] * D."""

    table: np.ndarray

    def predict(self, x, t):
        """The exact distribution of each site given those that are not masked."""
        num, size = self.table.shape[0], self.table.ndim
        sequences = jnp.asarray(list(itertools.product(range(num), repeat=size)))  # [K^D, D]
        agrees = jnp.all((x[:, None] == sequences[None]) | (x[:, None] == num), axis=-1)
        weights = agrees * jnp.asarray(self.table.ravel(), jnp.float32)[None]
        sites = jnp.einsum("bs,sdk->bdk", weights, jax.nn.one_hot(sequences, num))
        return Categorical(jnp.log(sites / sites.sum(axis=-1, keepdims=True)))

    def sample(self, seed, num):
        flat = np.random.default_rng(seed).choice(self.table.size, size=num, p=self.table.ravel())
        return jnp.asarray(np.stack(np.unravel_index(flat, self.table.shape), axis=-1), jnp.int32)

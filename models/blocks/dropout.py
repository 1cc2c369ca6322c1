"""Dropout, whose mask is drawn once in a step."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.arrays import Array
from core.target import platform


class Dropout(nn.Module):
    """x / (1 - rate) where a mask keeps it, otherwise 0; x itself unless `train`. The masks are those of `nn.Dropout`.

    rate: in [0, 1). Needs a `dropout` key if `train` and `rate` > 0.
    Source: Srivastava et al., JMLR 2014.
    Notes: a TPU's compiler would compute the random bits inside of all three convolutions that read them: the next one,
    and those of its two gradients. There the mask is an array of its own, of one byte per element.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        if not train or not self.rate:
            return x
        keep = 1 - self.rate
        mask = jax.random.bernoulli(self.make_rng("dropout"), keep, x.shape)
        if platform() == "tpu":
            mask = jax.lax.optimization_barrier(mask)
        return jax.lax.select(mask, x / keep, jnp.zeros_like(x))

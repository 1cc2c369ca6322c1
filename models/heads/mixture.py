"""A mixture of normal distributions of a vector at each position, and independent tokens in its place."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.arrays import Array
from corruption.predictions import Mixture
from models.blocks.convolution import dense

WIDEST, NARROWEST = 3.0, -2.0  # logarithms of standard deviations, which start at 1


class MixtureHead(nn.Module):
    """A mixture of C normal distributions in d dimensions from states h [B, L, W], float32.

        log_weights = W_1 h,   (mean_c, log_std_c) = b_c + A_c p,   p = W_2 h in `rank` dimensions

    Deviations are limited from below: components that shrink onto frequent vectors would have most of the gradient. A
    vector of fewer levels has a smaller scale, so that what is left can still be predicted finely in later rounds.
    A component has a matrix A_c of its own, of as many columns as the projection p has, so that many components cost
    little. They start with means b_c of a normal distribution, and deviations of 1.
    Source: Kim et al., ICML 2025, section 3.3, after Kim et al., "CLaM-TTS", ICLR 2024, section 3.2.
    """

    num_components: int
    dim: int
    rank: int

    @nn.compact
    def __call__(self, h: Array) -> Mixture:
        C, d, h = self.num_components, self.dim, h.astype(jnp.float32)
        log_weights = nn.Dense(C, kernel_init=nn.initializers.zeros, name="weights")(h)
        p = nn.Dense(self.rank, name="projection")(h)
        A = self.param("A", nn.initializers.normal(0.1 / self.rank**0.5), (C, 2 * d, self.rank))
        mean_0 = self.param("means", nn.initializers.normal(1.0), (C, d))
        log_std_0 = self.param("log_stds", nn.initializers.zeros, (C, d))
        found = jnp.einsum("cor,blr->blco", A, p)
        mean, log_std = found[..., :d] + mean_0[None, None], found[..., d:] + log_std_0[None, None]
        return Mixture(log_weights, mean, jnp.clip(log_std, NARROWEST, WIDEST))


class TokenHead(nn.Module):
    """The log-probabilities of each token by itself, [B, L, depth, K], from states h [B, L, W], float32."""

    depth: int
    num_categories: int

    @nn.compact
    def __call__(self, h: Array) -> Array:
        out: Any = dense(self.depth * self.num_categories, init_scale=0.0)(h.astype(jnp.float32))
        return jax.nn.log_softmax(out.reshape(*h.shape[:2], self.depth, self.num_categories))

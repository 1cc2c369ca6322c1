"""A noise schedule for each number of an example, given a latent."""

import math

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models.blocks.convolution import dense


class PixelSchedule(nn.Module):
    """Where on the way from 0 to 1 each number of an example is at u [B], given a latent [B, D], and how fast it moves.

        f(u) = int_0^u (a v^2 + b v + d)^2 dv = a^2 u^5 / 5 + a b u^4 / 2 + (b^2 + 2 a d) u^3 / 3 + b d u^2 + d^2 u
        where = f(u) / f(1),   pace = (a u^2 + b u + d)^2 / f(1);   each [B, *shape]

    a, b and d are a perceptron of the latent, and 0, 0 and 1 at first, so that where = u. A tenth of d^2 is left to
    every number as a constant pace: none stands still, and f(1) is not zero.
    Source: Sahoo et al., "Diffusion Models With Learned Adaptive Noise", NeurIPS 2024, section 3.3 and appendix D.
    """

    shape: tuple[int, ...]
    width: int = 64

    @nn.compact
    def __call__(self, latent: Array, u: Array) -> tuple[Array, Array]:
        h = nn.swish(dense(self.width)(latent))
        size = math.prod(self.shape)
        out = nn.Dense(3 * size, kernel_init=nn.initializers.zeros)(h).reshape(len(h), 3, *self.shape)
        a, b, d = out[:, 0], out[:, 1], 1 + out[:, 2]
        least, v = 0.1, u.reshape(-1, *(1,) * len(self.shape))

        def f(v: Array) -> Array:
            square = a**2 * v**5 / 5 + a * b * v**4 / 2 + (b**2 + 2 * a * d) * v**3 / 3 + b * d * v**2 + d**2 * v
            return square + least * v

        whole = f(jnp.ones_like(v))
        return f(v) / whole, ((a * v**2 + b * v + d) ** 2 + least) / whole

"""An encoder of examples of any rank to normally distributed vectors."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models.blocks.activations import ACTIVATIONS
from models.blocks.convolution import dense
from models.networks.autoencoder import Encoder
from models.tokenizers.base import Posterior

LOG_STD = (-7.0, 2.0)  # smallest and largest
FIRST_LOG_STD = -2.0  # about that of a code at first


class VectorEncoder(nn.Module):
    """The mean and the standard deviation, each [B, *shape], of the code of x [B, ..., C].

    kind, factor, nf, num_blocks: those of the `Encoder` of grids. Its features are flattened, so that the code knows
    where things are, and go to a perceptron of width 4 nf, as vectors [B, D] do.
    """

    shape: tuple[int, ...]
    kind: str
    factor: int
    nf: int
    num_blocks: int
    nonlinearity: str = "swish"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Posterior:
        act, width = ACTIVATIONS[self.nonlinearity], 4 * self.nf
        h = x
        if x.ndim > 2:
            h = Encoder(self.kind, self.factor, self.nf, self.num_blocks, self.nf, self.nonlinearity, self.dtype)(x)
        h = act(dense(width, dtype=self.dtype)(act(dense(width, dtype=self.dtype)(h.reshape(len(x), -1)))))
        out = dense(2 * math.prod(self.shape))(h.astype(jnp.float32)).reshape(len(x), *self.shape, 2)
        return Posterior(out[..., 0], jnp.exp(jnp.clip(out[..., 1] + FIRST_LOG_STD, *LOG_STD)))

"""The uncertainty of a model's loss at each noise level, which weights the loss of all levels alike."""

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models.blocks.magnitude_preserving import MPFourier


class Uncertainty(nn.Module):
    """u(log_snr) [B], the logarithm of the loss that is expected at a log signal-to-noise ratio [B].

    u = W_2 silu(W_1 features + b_1) + b_2,   features = MPFourier(log_snr / 8)

    `exp(-u) L + u` is smallest at `exp(u) = E[L | log_snr]`. u starts at 0. log_snr / 8 is -ln(sigma) / 4.
    Source: Karras et al., CVPR 2024, equations 14 to 16 and 21, after Kendall et al., CVPR 2018.
    Notes: published is a linear function of the features; a hidden layer can be exact, also for a constant.
    """

    features: int = 64

    @nn.compact
    def __call__(self, log_snr: Array) -> Array:
        h = nn.silu(nn.Dense(self.features)(MPFourier(self.features)(log_snr / 8)))
        return jnp.squeeze(nn.Dense(1, kernel_init=nn.initializers.zeros)(h), -1)

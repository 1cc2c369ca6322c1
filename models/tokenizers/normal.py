"""Latents that are normally distributed given the data: the variational auto-encoder."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from core.keys import ExampleKey, draw_normal, fold_in
from models.tokenizers.base import Posterior
from models.tokenizers.codebook import Quantized

LOG_VARIANCES = (-30.0, 20.0)


@dataclasses.dataclass(frozen=True)
class NormalLatents:
    """q(z | x) = N(mean, std^2) from features [B, ..., 2 D], and its divergence from the standard normal distribution.

        kl = 1/2 sum (mean^2 + std^2 - 1 - ln std^2) / num_dims     nats per dimension of the data

    Source: Kingma and Welling, ICLR 2014, appendix B; as an auto-encoder for latents: Rombach et al., CVPR 2022.
    """

    dim: int
    num_dims: int
    num_codes: int = 0
    is_uncertain: bool = True

    @property
    def num_outputs(self) -> int:
        """Channels of the encoder."""
        return 2 * self.dim

    @property
    def num_channels(self) -> int:
        """Channels of a code."""
        return self.dim

    def init(self, key: Array) -> dict[str, Any]:
        """No parameters."""
        return {}

    def start(self, variables: dict[str, Any], features: np.ndarray, seed: int) -> dict[str, Any]:
        """Nothing to fit."""
        return variables

    def posterior(self, features: Array) -> Posterior | None:
        """q(z | x)."""
        mean, log_variance = jnp.split(features, 2, axis=-1)
        return Posterior(mean, jnp.exp(0.5 * jnp.clip(log_variance, *LOG_VARIANCES)))

    def to_codes(self, variables: dict[str, Any], features: Array) -> Array:
        """The mean of the latents [B, ..., D]."""
        return features[..., : self.dim]

    def to_latents(self, variables: dict[str, Any], codes: Array) -> Array:
        """Latents are what the decoder takes."""
        return codes

    def __call__(self, variables: dict[str, Any], features: Array, keys: Array, *, train: bool) -> Quantized:
        """A sample of q(z | x) from each example's key; its mean outside of training."""
        q = self.posterior(features)
        assert q is not None
        z = q.mean + q.std * draw_normal(fold_in(keys, ExampleKey.NOISE), q.mean.shape)
        nats = 0.5 * (q.mean**2 + q.std**2 - 1) - jnp.log(q.std)
        kl = jnp.sum(nats.reshape(len(nats), math.prod(nats.shape[1:])), axis=1) / self.num_dims
        return Quantized(z, {"kl": kl}, {}, {})

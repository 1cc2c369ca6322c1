"""A linear Gaussian structural model as a system: encoder, mechanisms and predictions are replaced by the truth.

x = (a, b, c, w): the chain a -> b -> c, whose noise x determines, and w ~ N(0, 1), which has nothing to do with it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Gaussian
from models.tokenizers.base import Posterior
from systems.base import Context
from systems.causal_diffae import CausalDiffAE
from training.objectives.base import Variables

NAMES, EDGES = ("a", "b", "c"), ("a->b", "b->c")
B, C, OFFSET = 0.8, -1.5, 0.3  # b = B a + OFFSET + u_b,  c = C b + OFFSET + u_c


def examples(num: int) -> dict[str, np.ndarray]:
    """x [num, 4], and the variables as fields."""
    u = np.random.default_rng(0).normal(size=(num, 4)).astype(np.float32)
    a = u[:, 0]
    b = B * a + OFFSET + u[:, 1]
    c = C * b + OFFSET + u[:, 2]
    return {"x": np.stack([a, b, c, u[:, 3]], axis=1), "a": a, "b": b, "c": c}


class Truth:
    """The latents are a, b and c."""

    def init(self, key: Array, x: Array) -> dict[str, Any]:
        """No parameters."""
        return {"params": {}}

    def apply(self, variables: Any, x: Array) -> Posterior:
        """z [B, 3, 1], almost without uncertainty."""
        z = x[:, :3, None]
        return Posterior(z, jnp.full_like(z, 1e-3))


class Exact(CausalDiffAE):
    """Labels are not scaled, so that z is (a, b, c)."""

    def __init__(self, context: Context):
        super().__init__(context)
        self.causal = dataclasses.replace(self.causal, encoder=Truth())  # type: ignore[arg-type]

    def truth(self, variables: Variables) -> Variables:
        """The variables with the mechanisms of the model, and labels as they are."""
        weights = {"mechanism_b": B, "mechanism_c": C}
        layer = {
            name: {"Dense_0": {"kernel": jnp.full((1, 1), weight), "bias": jnp.full(1, OFFSET)}}
            for name, weight in weights.items()
        }
        causal = {"log_noise_std": jnp.zeros(3), **layer}
        labels = {**self.causal.initial_statistics(), "low": jnp.full(3, -9.0), "high": jnp.full(3, 9.0)}
        return {"params": {**variables["params"], "causal": causal}, "labels": labels}

    def predictions(self, params: Any, z: Array, scale: Array | None) -> Callable[[Array, Array], Gaussian]:
        """The exact expectations: a, b and c are z, and w ~ N(0, 1)."""

        def predict(x: Array, t: Array) -> Gaussian:
            m, std = (broadcast_to_rank(of(t), x) for of in (self.sde.mean_coeff, self.sde.std))
            w = x[:, 3:]
            x0 = jnp.concatenate([z[..., 0], m * w / (m**2 + std**2)], axis=1)
            noise = jnp.concatenate([(x[:, :3] - m * z[..., 0]) / std, std * w / (m**2 + std**2)], axis=1)
            return Gaussian(x0, noise)

        return predict

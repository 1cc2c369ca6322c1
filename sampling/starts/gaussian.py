"""Starts at samples of the Gaussian with the mean and the covariance of the data, with noise."""

import dataclasses
from collections.abc import Sequence
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from core.keys import SampleKey, draw_normal, fold_in
from sampling.inverse.classical import Prior
from sde.base import SDE


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GaussianData:
    """Starts at x_t = mean_coeff(t) x + std(t) z, x ~ N(mu, W^T W + r I), of all data (row 0) or class c (row 1 + c).

    With much noise, the distribution of x_t is close to the one with the mean and the covariance of the data, and the
    steps from the prior to t, all of whose errors remain in the samples, are not needed. No sample is near a training
    example for that reason.

    Source: Wang and Vastola, TMLR 2024, "analytical teleportation", where x_t is a function of the sample of the prior.
    """

    t: Array  # scalar
    mean: Array  # mu [L, D]
    components: Array  # W [L, K, D]: principal components, times the standard deviations along them
    rest: Array  # r [L], the variance per dimension that the components leave

    @classmethod
    def of(cls, t: float, priors: Sequence[Prior]) -> Self:
        """The start of these means and principal components, which may have different numbers of them."""
        num = max(len(prior.variances) for prior in priors)
        W = [prior.components * np.sqrt(prior.variances)[:, None] for prior in priors]
        padded = np.stack([np.pad(w, ((0, num - len(w)), (0, 0))) for w in W])
        parts = np.stack([prior.mean for prior in priors]), padded, np.array([prior.rest for prior in priors])
        return cls(jnp.float32(t), *(jnp.asarray(part, jnp.float32) for part in parts))

    def __call__(self, sde: SDE, keys: Array, shape: Sequence[int], asked: Array | None) -> Array:
        """x_t [B, ...], each of the class `asked` [B]; of the Gaussian of all data where it is None."""
        row = jnp.zeros(len(keys), jnp.int32) if asked is None else 1 + asked
        num, D = self.components.shape[1:]
        own = fold_in(keys, SampleKey.TARGET)
        e = draw_normal(own, (len(keys), num + D))
        x = self.mean[row] + jnp.einsum("bk,bkd->bd", e[:, :num], self.components[row])
        x = x + jnp.sqrt(self.rest[row])[:, None] * e[:, num:]
        z = draw_normal(fold_in(keys, SampleKey.PRIOR), shape)
        return sde.perturb(x.reshape(shape), jnp.full(len(keys), self.t), z)

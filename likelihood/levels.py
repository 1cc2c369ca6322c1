"""The bound on the log-probability of levels, estimated at several times of each example."""

import jax
import jax.numpy as jnp

from core.arrays import Array
from core.keys import BoundKey, draw_normal, fold_in
from corruption.gaussian import GaussianNoise
from corruption.levels import rate_nats, reconstruction_nats
from corruption.paths import Path, straight
from corruption.predictions import Predict
from likelihood.bound import Bound, standard_error_of_strata
from sde.base import SDE


def levels_bound(
    predict: Predict,
    sde: SDE,
    x0: Array,
    keys: Array,
    levels: Array,
    *,
    first: Array,
    last: Array,
    path: Path = straight,
    num_times: int = 1,
) -> Bound:
    """The bound of `corruption.levels` on `-log P(x0)` of levels x0 [B, ...], between the times `first` and `last`.

    Positions on the path are uniform, one in each of `num_times` equal strata; `keys` [B]: one per example, consumed.
    """
    ones, scale = jnp.ones(x0.shape[:1]), last - first

    def estimate(k: Array) -> tuple[Array, Array]:
        key = fold_in(keys, k)
        u = (k + jax.vmap(lambda key: jax.random.uniform(key, ()))(fold_in(key, BoundKey.TIME))) / num_times
        z = draw_normal(fold_in(key, BoundKey.NOISE), x0.shape)
        noise = draw_normal(fold_in(key, BoundKey.DECODER), x0.shape)
        reconstruction = reconstruction_nats(sde, x0, first * ones, noise, levels)
        where, pace = path(u)
        return scale * rate_nats(predict, sde, x0, first + scale * where, z, pace), reconstruction

    diffusion, reconstruction = jax.lax.map(estimate, jnp.arange(num_times))
    prior, error = GaussianNoise(sde).prior_nats(x0, last * ones), standard_error_of_strata(diffusion + reconstruction)
    parts = jnp.mean(diffusion, axis=0), jnp.mean(reconstruction, axis=0)
    return Bound(prior + parts[0] + parts[1], error, prior, *parts, jnp.asarray(num_times, jnp.int32))


def grid(num_levels: int, centered: bool) -> Array:
    """The values of all levels as the network sees them without dequantization: [L], from 0 or -1 to 1."""
    return jnp.linspace(-1.0 if centered else 0.0, 1.0, num_levels)

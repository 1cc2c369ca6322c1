"""Residual vector quantization: each level quantizes what the levels before it have left."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array, broadcast_to_rank
from core.keys import ExampleKey, fold_in
from corruption import residual
from models.tokenizers.base import Posterior
from models.tokenizers.codebook import Quantized, VectorQuantizer, k_means

BEAM = 16  # sums of codes that the search for tokens keeps at every level
SETTLED = 1e-5  # the radius of a cell below which rounding may change the tokens of its sum
POOLED = 2  # how often a shared codebook is fitted again to features and what it leaves of them


@dataclasses.dataclass(frozen=True)
class ResidualQuantizer:
    """`depth` tokens for every feature f, whose codes add up to it.

        r_1 = f,   k_j = argmin_k |r_j - c_jk|^2,   r_{j+1} = r_j - c_jk_j,   latents = f + sg(sum_j c_jk_j - f)

    level: how each codebook is learned, with its losses, which are added up. shared: one codebook for all levels.
    dropout: the probability that the decoder gets the first n levels only in training, n uniform in 1 ... depth.
    Tokens are those that `settled` finds, which come back from the sum of their codes; training takes the nearest
    code at each level.
    Source: Lee et al., CVPR 2022 (RQ-VAE), section 3.1; the dropout: Zeghidour et al., "SoundStream", 2021, section
    III.C.
    """

    level: VectorQuantizer
    depth: int
    shared: bool = False
    dropout: float = 0.0
    is_uncertain: bool = False

    @property
    def num_codes(self) -> int:
        """Codes of a level."""
        return self.level.num_codes

    @property
    def num_outputs(self) -> int:
        """Channels of the encoder."""
        return self.level.dim

    @property
    def num_channels(self) -> int:
        """Channels of a code: a token for each level."""
        return self.depth

    @property
    def num_codebooks(self) -> int:
        """One, or one for each level."""
        return 1 if self.shared else self.depth

    def init(self, key: Array) -> dict[str, Any]:
        """Normal vectors, half as long at each further level."""
        scale = 0.5 ** jnp.arange(self.num_codebooks)[:, None, None]
        shape = (self.num_codebooks, self.num_codes, self.level.dim)
        return self.with_vectors({}, scale * jax.random.normal(key, shape))

    def with_vectors(self, variables: dict[str, Any], vectors: Array | np.ndarray) -> dict[str, Any]:
        """The variables with these codebooks [depth or 1, K, d]."""
        found = [self.level.with_vectors({}, c) for c in vectors]
        stacked: dict[str, Any] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)
        params = {**variables.get("params", {}), **stacked.get("params", {})}
        return {**variables, **stacked} | ({"params": params} if params else {})

    def vectors(self, variables: dict[str, Any]) -> Array:
        """The codebook of each level, [depth, K, d]."""
        found = jnp.stack([self.level.vectors(self._level(variables, j)) for j in range(self.num_codebooks)])
        return jnp.broadcast_to(found, (self.depth, *found.shape[1:]))

    def start(self, variables: dict[str, Any], features: np.ndarray, seed: int) -> dict[str, Any]:
        """The codebooks by k-means of features [N, d] and of what is left of them at each further level."""
        if self.shared:
            return self.with_vectors(variables, self._pooled(features, seed)[None])
        found, left = [], features
        for _ in range(self.depth):
            found.append(k_means(left, self.num_codes, seed))
            left = left - found[-1][np.asarray(residual.nearest(jnp.asarray(found[-1]), jnp.asarray(left)))]
        return self.with_vectors(variables, np.stack(found))

    def to_codes(self, variables: dict[str, Any], features: Array) -> Array:
        """Tokens [B, ..., depth], int32, of features [B, ..., d]."""
        return settled(self.vectors(variables), features)

    def to_latents(self, variables: dict[str, Any], codes: Array) -> Array:
        """The sums of the codes of tokens [B, ..., n] of the first n levels, [B, ..., d]."""
        return residual.total(self.vectors(variables)[: codes.shape[-1]], codes)

    def posterior(self, features: Array) -> Posterior | None:
        """None: tokens are certain."""
        return None

    def __call__(self, variables: dict[str, Any], features: Array, keys: Array, *, train: bool) -> Quantized:
        """Features [B, ..., d] quantized."""
        kept = jnp.full(features.shape[:1], self.depth)
        if train and self.dropout:
            kept = _kept_levels(fold_in(keys, ExampleKey.LATENT), self.depth, self.dropout)
        stop, left, found, changed = jax.lax.stop_gradient, features, [], []
        for j in range(self.depth):
            own = self.level(self._level(variables, j), left, keys, train=train)
            counted = broadcast_to_rank(j < kept, features)
            value = stop(own.latents)  # the code
            found.append(own._replace(latents=jnp.where(counted, value, 0.0)))
            changed.append(own.collections)
            left = left - value
        latents = features + stop(sum(own.latents for own in found) - features)
        losses = {
            name: jnp.sum(
                jnp.stack([jnp.where(j < kept, own.losses[name], 0.0) for j, own in enumerate(found)]), axis=0
            )
            for name in found[0].losses
        }
        metrics = {name: jnp.mean(jnp.stack([own.metrics[name] for own in found])) for name in found[0].metrics}
        return Quantized(latents, losses, metrics, self._collected(changed))

    def _level(self, variables: dict[str, Any], j: int) -> dict[str, Any]:
        """The variables of one codebook."""
        own = variables["params"] if self.level.learned == "gradient" else variables
        one = jax.tree.map(lambda a: a[0 if self.shared else j], own["codebook"])
        return {"params": {"codebook": one}} if self.level.learned == "gradient" else {"codebook": one}

    def _collected(self, changed: list[dict[str, Any]]) -> dict[str, Any]:
        """The changed collections of all codebooks; of a shared one, their mean over the levels."""
        stacked: dict[str, Any] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *changed)
        return jax.tree.map(lambda a: jnp.mean(a, axis=0, keepdims=True), stacked) if self.shared else stacked

    def _pooled(self, features: np.ndarray, seed: int) -> np.ndarray:
        """One codebook [K, d] of features and of what all levels but the last leave of them."""
        found = k_means(features, self.num_codes, seed)
        for _ in range(POOLED):
            left, pool = features, []
            for _ in range(self.depth):
                pool.append(left)
                left = left - found[np.asarray(residual.nearest(jnp.asarray(found), jnp.asarray(left)))]
            found = k_means(np.concatenate(pool), self.num_codes, seed)
        return found


def settled(vectors: Array, features: Array) -> Array:
    """Tokens [..., D], int32, of features [..., d], that come back from the sum of their codes.

    Quantizing the sum of the nearest codes of each level can give other tokens, where the levels after the first lead
    into the cell of another code. The candidates are those nearest codes and the `BEAM` sums that a search finds to be
    the nearest; of those that come back (a positive `residual.cell_radius`), the nearest one to the feature is taken.
    Where none comes back, it is the nearest of all.
    """
    depth, flat = len(vectors), features.reshape(-1, vectors.shape[-1])
    first = jnp.zeros(len(flat), jnp.int32)
    candidates = jnp.concatenate([residual.quantized(vectors, flat, first)[:, None], _searched(vectors, flat)], axis=1)
    error = jnp.sum((residual.total(vectors, candidates) - flat[:, None]) ** 2, axis=-1)
    radius = residual.cell_radius(vectors, candidates, jnp.zeros(candidates.shape[:2], jnp.int32))
    error = error + jnp.where(radius > SETTLED, 0.0, 1 + 2 * jnp.max(error))
    best = jnp.take_along_axis(candidates, jnp.argmin(error, axis=1)[:, None, None], axis=1)[:, 0]
    return best.reshape(*features.shape[:-1], depth)


def _searched(vectors: Array, flat: Array) -> Array:
    """Tokens [N, BEAM or fewer, D] of sums of codes near the features [N, d], by a beam search over the levels."""
    N, left = len(flat), flat[:, None]
    tokens = jnp.zeros((N, 1, 0), jnp.int32)
    for c in vectors:
        squares = residual.trailing(jnp.sum(c**2, axis=-1), 3) - 2 * (left @ c.T)
        squares = squares + jnp.sum(left**2, axis=-1, keepdims=True)
        num = min(BEAM, squares.shape[1] * len(c))
        _, chosen = jax.lax.top_k(-squares.reshape(N, -1), num)
        beam, k = chosen // len(c), chosen % len(c)
        left = jnp.take_along_axis(left, beam[..., None], axis=1) - c[k]
        tokens = jnp.concatenate([jnp.take_along_axis(tokens, beam[..., None], axis=1), k[..., None]], axis=-1)
    return tokens.astype(jnp.int32)


def _kept_levels(keys: Array, depth: int, dropout: float) -> Array:
    """How many levels each example keeps, [B]: all, or with probability `dropout` a uniform number of them."""
    u = jax.vmap(lambda key: jax.random.uniform(key, ()))(keys)
    return jnp.where(u < dropout, 1 + jnp.floor(jnp.minimum(u / dropout, 0.999) * depth).astype(jnp.int32), depth)

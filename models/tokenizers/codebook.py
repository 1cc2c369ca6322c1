"""Vector quantization: the nearest vectors of a codebook, and how the codebook is learned."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array, broadcast_to_rank
from core.keys import ExampleKey, fold_in
from models.tokenizers.base import Posterior

LEARNED = ("gradient", "average")
SMOOTHING = 1e-5  # of the shares of codes, so that a code without features stays finite


class Quantized(NamedTuple):
    """Latents [B, ..., D] for the decoder; losses [B] by name; metrics; changed collections."""

    latents: Array
    losses: dict[str, Array]
    metrics: dict[str, Array]
    collections: dict[str, Any]


def squared_distances(features: Array, vectors: Array) -> Array:
    """|f - c|^2 of every feature [N, D] and vector [K, D]: [N, K]."""
    squares = jnp.sum(features**2, axis=1)[:, None] + jnp.sum(vectors**2, axis=1)[None]
    return squares - 2 * features @ vectors.T


def k_means(features: np.ndarray, num_codes: int, seed: int) -> np.ndarray:
    """The centers [K, D] of clusters of features [N, D], float32; the same for equal arguments.

    Errors: ValueError for fewer different features than codes.
    """
    from sklearn.cluster import KMeans  # slow to import
    from threadpoolctl import threadpool_limits

    distinct = len(np.unique(features, axis=0))
    if distinct < num_codes:
        raise ValueError(
            f"config.tokenizer.num_codes = {num_codes}, but k-means got {len(features)} encoder features, {distinct} "
            "of them different; use fewer codes, or a larger config.tokenizer.reservoir."
        )
    with threadpool_limits(1):  # the sums of several threads depend on their order
        found = KMeans(num_codes, n_init=1, max_iter=100, random_state=seed).fit(features.astype(np.float64))
    return found.cluster_centers_.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class VectorQuantizer:
    """The nearest vector c_k of a codebook, for every feature f; the decoder's gradient goes to f unchanged.

        latents = f + sg(c_k - f),    k = argmin |f - c_k|^2
        losses: commitment = mean (f - sg(c_k))^2, and by gradient also codebook = mean (sg(f) - c_k)^2

    A codebook by moving average has shares n_k of the codes and sums s_k of their features, and c_k = s_k / n_k:

        n_k <- decay n_k + (1 - decay) N_k / N,    s_k <- decay s_k + (1 - decay) (sum of the N_k features) / N

    restart_below: a code with n_k below this fraction of 1 / K is replaced by a feature of the batch, chosen by the key
    of the first example. Source: van den Oord et al., NeurIPS 2017, equation 3 and appendix A.1; restarts: Dhariwal et
    al., "Jukebox", 2020, section 3.2.
    """

    num_codes: int
    dim: int
    learned: str = "gradient"
    decay: float = 0.99
    restart_below: float = 0.0
    is_uncertain: bool = False

    @property
    def num_outputs(self) -> int:
        """Channels of the encoder."""
        return self.dim

    @property
    def num_channels(self) -> int:
        """Channels of a code: one token."""
        return 1

    def init(self, key: Array) -> dict[str, Any]:
        """Standard normal vectors."""
        return self.with_vectors({}, jax.random.normal(key, (self.num_codes, self.dim)))

    def with_vectors(self, variables: dict[str, Any], vectors: Array | np.ndarray) -> dict[str, Any]:
        """The variables with these vectors [K, D], each with an equal share."""
        vectors = jnp.asarray(vectors)
        if self.learned == "gradient":
            return {**variables, "params": {**variables.get("params", {}), "codebook": {"vectors": vectors}}}
        shares = jnp.full((self.num_codes,), 1 / self.num_codes, jnp.float32)
        return {**variables, "codebook": {"shares": shares, "sums": vectors / self.num_codes}}

    def start(self, variables: dict[str, Any], features: np.ndarray, seed: int) -> dict[str, Any]:
        """The codebook by k-means of features [N, D]."""
        return self.with_vectors(variables, k_means(features, self.num_codes, seed))

    def vectors(self, variables: dict[str, Any]) -> Array:
        """The codebook [K, D]."""
        if self.learned == "gradient":
            return variables["params"]["codebook"]["vectors"]
        shares, sums = variables["codebook"]["shares"], variables["codebook"]["sums"]
        total = jnp.sum(shares)
        smoothed = total * (shares + SMOOTHING / self.num_codes) / (total + SMOOTHING)
        return sums / smoothed[:, None]

    def to_codes(self, variables: dict[str, Any], features: Array) -> Array:
        """Tokens [B, ..., 1], int32, of features [B, ..., D]."""
        distances = squared_distances(features.reshape(-1, self.dim), self.vectors(variables))
        return jnp.argmin(distances, axis=1).reshape(*features.shape[:-1], 1).astype(jnp.int32)

    def to_latents(self, variables: dict[str, Any], codes: Array) -> Array:
        """The vectors [B, ..., D] of tokens [B, ..., 1]."""
        return self.vectors(variables)[codes[..., 0]]

    def posterior(self, features: Array) -> Posterior | None:
        """None: tokens are certain."""
        return None

    def __call__(self, variables: dict[str, Any], features: Array, keys: Array, *, train: bool) -> Quantized:
        """Features [B, ..., D] quantized."""
        codes = jax.lax.stop_gradient(self.to_codes(variables, features))
        nearest = self.to_latents(variables, codes)
        stop = jax.lax.stop_gradient
        losses = {"commitment": _mean((features - stop(nearest)) ** 2)}
        if self.learned == "gradient":
            losses["codebook"] = _mean((stop(features) - nearest) ** 2)
        chosen = jax.nn.one_hot(codes.reshape(-1), self.num_codes)
        shares = jnp.mean(chosen, axis=0)
        entropy = -jnp.sum(jnp.where(shares > 0, shares * jnp.log(jnp.maximum(shares, 1e-12)), 0.0))
        metrics = {"usage": jnp.mean(shares > 0), "perplexity": jnp.exp(entropy)}
        changed = {}
        if train and self.learned == "average":
            changed = {"codebook": self._moved(variables["codebook"], stop(features), chosen, keys)}
        return Quantized(features + stop(nearest - features), losses, metrics, changed)

    def _moved(self, codebook: dict[str, Array], features: Array, chosen: Array, keys: Array) -> dict[str, Array]:
        """The codebook after a batch."""
        flat, decay = features.reshape(-1, self.dim), self.decay
        shares = decay * codebook["shares"] + (1 - decay) * jnp.mean(chosen, axis=0)
        sums = decay * codebook["sums"] + (1 - decay) * (chosen.T @ flat) / len(flat)
        if not self.restart_below:
            return {"shares": shares, "sums": sums}
        rows = jax.random.randint(fold_in(keys[0], ExampleKey.RESTART), (self.num_codes,), 0, len(flat))
        dead = shares < self.restart_below / self.num_codes
        return {
            "shares": jnp.where(dead, 1 / self.num_codes, shares),
            "sums": jnp.where(broadcast_to_rank(dead, sums), flat[rows] / self.num_codes, sums),
        }


def _mean(values: Array) -> Array:
    """The mean [B] of values [B, ...] over all but the first axis."""
    return jnp.mean(values.reshape(len(values), math.prod(values.shape[1:])), axis=1)

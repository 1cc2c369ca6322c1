"""A mixture of experts in place of a perceptron: each token goes through the few experts that a router chooses."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.arrays import Array
from models.blocks.activations import Activation

COLLECTION = "routing"  # what the layers sow


class Routing(NamedTuple):
    """Of one layer: gates [B, L, E], the router's probabilities, and chosen [B, L, E], 1 where an expert is used."""

    gates: Array
    chosen: Array


class MixtureOfExperts(nn.Module):
    """The sum of the `top_k` likeliest of E experts, each a perceptron, weighted by the router.

        y = sum_{e in top k} p_e (W_2e act(W_1e h + b_1e) + b_2e),   p = softmax(W h)

    h [B, L, D] to y [B, L, D]. An expert has 4 D / top_k hidden units, so that what a token passes through has as many
    parameters as a perceptron with 4 D. Without capacities: no token is dropped. All experts are computed for all
    tokens, in two products of matrices, and those that are not chosen have the weight 0: E / top_k times the operations
    of the perceptron. Sows a `Routing` into the collection "routing".
    Errors: ValueError for a top_k beyond 1 ... E, or one that does not divide 4 D.
    Source: Shazeer et al., ICLR 2017; top-1: Fedus et al., "Switch Transformers", JMLR 2022, section 2.1.
    """

    num_experts: int
    top_k: int
    act: Activation
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Array) -> Array:
        B, L, D = h.shape
        E, k = self.num_experts, self.top_k
        if not 1 <= k <= E or 4 * D % k:
            raise ValueError(f"top_k = {k} with {E} experts and a width of {D}; use 1 to {E}, a divisor of {4 * D}.")
        H = 4 * D // k
        router = nn.Dense(E, use_bias=False, name="router")  # in float32: what is chosen depends on small differences
        gates = jax.nn.softmax(router(h.astype(jnp.float32)))
        chosen = jax.nn.one_hot(jax.lax.top_k(gates, k)[1], E).sum(axis=-2)
        self.sow(COLLECTION, "layer", Routing(gates, chosen))
        each = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform", batch_axis=(0,))
        W_1, W_2 = self.param("W_1", each, (E, D, H)), self.param("W_2", each, (E, H, D))
        b_1, b_2 = (self.param(f"b_{n}", nn.initializers.zeros, (E, size)) for n, size in ((1, H), (2, D)))
        h, W_1, W_2, b_1, b_2, p = nn.dtypes.promote_dtype(h, W_1, W_2, b_1, b_2, gates * chosen, dtype=self.dtype)
        hidden = h.reshape(B * L, D) @ jnp.moveaxis(W_1, 0, 1).reshape(D, E * H) + b_1.reshape(1, E * H)
        hidden = self.act(hidden).reshape(B * L, E, H) * p.reshape(B * L, E, 1)
        y = hidden.reshape(B * L, E * H) @ W_2.reshape(E * H, D)
        return y.reshape(B, L, D) + p @ b_2


def routings(collection: Any) -> list[Routing]:
    """Those of all layers, from the collection "routing" of a call of the network."""
    is_routing = lambda found: isinstance(found, Routing)  # noqa: E731
    return [found for found in jax.tree.leaves(collection, is_leaf=is_routing) if is_routing(found)]


def balance(layers: list[Routing]) -> Array:
    """The balance loss of each example [B], at least 1, its value for experts that are used alike; mean over layers.

        E sum_e f_e P_e,   f_e: the share of expert e in the choices of the batch,   P_e: its mean gate in the example

    Its mean over the batch is that of the batch. Source: Fedus et al., JMLR 2022, equations 4 to 6.
    """

    def of(layer: Routing) -> Array:
        E = layer.gates.shape[-1]
        return E * jnp.sum(shares(layer.chosen)[None] * layer.gates.mean(axis=1), axis=-1)

    return jnp.stack([of(layer) for layer in layers]).mean(axis=0)


def shares(chosen: Array) -> Array:
    """The share [E] of each expert in the choices [..., E]."""
    counts = chosen.reshape(-1, chosen.shape[-1]).sum(axis=0)
    return jax.lax.stop_gradient(counts / jnp.maximum(counts.sum(), 1))


def evenness(share: Array) -> Array:
    """The entropy of shares [..., E] over that of experts that are used alike, log E: at most 1."""
    return -jnp.sum(jax.scipy.special.xlogy(share, share), axis=-1) / jnp.log(share.shape[-1])

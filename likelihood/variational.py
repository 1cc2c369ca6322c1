"""Variational dequantization: a learned distribution of the noise within each level, conditioned on the image.

    log P(levels) >= E[log p(x) - log q(x | levels)],   x = (levels + u) / L, scaled to [-1, 1] if centered,   u ~ q

holds for every density q on the cell of the levels, and is tightest if q is proportional to the density of the model
there. q is a small flow, which starts as the uniform density and is trained on log p(x) - log q with the model frozen.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from core.arrays import Array
from core.keys import DequantizationKey, example_keys, fold_in
from core.progress import each
from corruption.predictions import Predict
from likelihood import dequantize
from likelihood.bound import variational_bound
from sde.base import SDE

Params = Any
LARGEST_LOG_SCALE = 2.0  # of a coupling; keeps training stable


class Flow(nn.Module):
    """Logistic noise, transformed by affine couplings conditioned on the image, and a sigmoid.

        v_0 ~ Logistic(0, 1),   v_k = v_{k-1} exp(s_k) + b_k where the mask is 0,   u = sigmoid(v_K)
        log q(u) = log u_0 (1 - u_0) - sum s_k - log u (1 - u),   u_0 = sigmoid(v_0)

    s_k and b_k are computed by a convolutional network from the levels and from v where the mask is 1. The mask is zero
    for k = 0, and then alternates between the two colors of a checkerboard over rows, columns and channels. The last
    layer is initialized with zeros, so u is uniform before training. `couplings`: number of checkerboard couplings;
    `features`: channels of the networks.
    Source: Ho et al., "Flow++", ICML 2019, section 3.1; Dinh et al., "Real NVP", ICLR 2017 (couplings).
    """

    features: int = 32
    couplings: int = 4

    @nn.compact
    def __call__(self, keys: Array, image: Array) -> tuple[Array, Array]:
        """u [B, H, W, C] in (0, 1) for `image` [B, H, W, C] in [-1, 1], and log q(u) [B] in nats; `keys` [B]."""
        axes, shape, size = tuple(range(1, image.ndim)), image.shape, (3,) * (image.ndim - 2)
        v = jax.vmap(lambda key: jax.random.logistic(key, shape[1:]))(keys)
        logq = jnp.sum(_log_slope(v), axis=axes)
        parity = jnp.asarray(np.indices(shape[1:]).sum(axis=0) % 2, v.dtype)[None]
        for k in range(self.couplings + 1):
            mask = jnp.zeros_like(parity) if k == 0 else (parity if k % 2 else 1 - parity)
            h = jnp.concatenate([image, mask * v, jnp.broadcast_to(mask, shape)], axis=-1)
            for _ in range(2):
                h = nn.swish(nn.Conv(self.features, size)(h))
            out = nn.Conv(2 * shape[-1], size, kernel_init=nn.initializers.zeros)(h)
            log_scale, shift = jnp.split(out, 2, axis=-1)
            log_scale = (1 - mask) * LARGEST_LOG_SCALE * jnp.tanh(log_scale / LARGEST_LOG_SCALE)
            v = v * jnp.exp(log_scale) + (1 - mask) * shift
            logq = logq - jnp.sum(log_scale, axis=axes)
        return jax.nn.sigmoid(v), logq - jnp.sum(_log_slope(v), axis=axes)


def initial(flow: Flow, key: Array, shape: tuple[int, ...]) -> Params:
    """Initial parameters of the flow for images of `shape` [H, W, C]; with them q is uniform."""
    return flow.init(fold_in(key, DequantizationKey.INIT), example_keys(key, 1), jnp.zeros((1, *shape)))["params"]


def variational(
    flow: Flow, params: Params, keys: Array, levels: Array, num_levels: int, centered: bool
) -> tuple[Array, Array]:
    """Dequantized x [B, H, W, C] of `levels` (uint8), and its log-density relative to the uniform one, in nats [B].

    log q(x | levels) = log q(u) + D ln L, or D ln(L / 2) if `centered`; the second term, the log-density of uniform
    dequantization, is left out. `keys` [B], consumed. As in `dequantize.truncated_normal`, u is moved to stay `margin`
    away from both ends.
    """
    margin = dequantize.margin(num_levels)
    sample: Any = flow.apply({"params": params}, keys, dequantize.midpoint(levels, num_levels, True))
    u, logq = sample
    u = jnp.clip(u, margin, 1 - margin)
    x = (levels.astype(u.dtype) + u) / num_levels
    return (2 * x - 1 if centered else x), logq


def make_loss(
    flow: Flow, sde: SDE, num_levels: int, centered: bool, *, eps: float = 1e-5, num_times: int = 2
) -> Callable[[Params, Array, Array, Predict], Array]:
    """`loss(params, key, levels [B, H, W, C], predict)`: E[log q - log p] in nats per dimension, to be minimized.

    log p is estimated by the variational bound (`likelihood.bound`) with `num_times` random times per image; the
    estimate is unbiased and differentiable with respect to x through the frozen model.
    """

    def loss(params: Params, key: Array, levels: Array, predict: Predict) -> Array:
        keys = example_keys(key, levels.shape[0])
        x, log_ratio = variational(flow, params, fold_in(keys, DequantizationKey.FLOW), levels, num_levels, centered)
        bound = variational_bound(predict, sde, x, fold_in(keys, DequantizationKey.BOUND), eps=eps, num_times=num_times)
        return jnp.mean(bound.nats + log_ratio) / levels[0].size

    return loss


def fit(
    flow: Flow,
    loss: Callable[[Params, Array, Array, Predict], Array],
    predict_of: Callable[[Any], Predict],
    weights: Any,
    key: Array,
    batches: Callable[[int], Array],
    *,
    num_steps: int,
    learning_rate: float = 2e-3,
) -> Params:
    """The parameters of `flow` after `num_steps` steps of Adam with a cosine decay of the learning rate to zero.

    `predict_of(weights)`: the predictions of the model, which is not trained; `batches(k)`: the levels of step k. The
    result depends only on the batches and on `key`; step k uses `fold_in(key, k)`.
    """
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps)))

    @jax.jit
    def advance(state: tuple[Params, Any], key: Array, levels: Array, weights: Any) -> tuple[Params, Any]:
        params, memory = state
        gradient = jax.grad(loss)(params, key, levels, predict_of(weights))
        updates, memory = tx.update(gradient, memory, params)
        return optax.apply_updates(params, updates), memory

    params = initial(flow, key, batches(0).shape[1:])
    state, keys = (params, tx.init(params)), fold_in(key, DequantizationKey.STEPS)
    for step in each(range(num_steps), "fitting the dequantization", num_steps, "step"):
        state = advance(state, fold_in(keys, step), batches(step), weights)
    return state[0]


def _log_slope(v: Array) -> Array:
    """`log sigmoid'(v) = log sigmoid(v) + log sigmoid(-v)`, which is also the log-density of Logistic(0, 1)."""
    return jax.nn.log_sigmoid(v) + jax.nn.log_sigmoid(-v)

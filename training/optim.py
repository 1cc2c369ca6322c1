"""Optimizers and learning-rate schedules, with optax."""

import fnmatch
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from core.arrays import Array
from core.tables import nearest


def learning_rate(lr: float, *, warmup: int = 0, decay_steps: int | None = None) -> optax.Schedule:
    """`lr min(k / warmup, 1)` at step k = 0, 1, ..., times `(1 + cos(pi k / decay_steps)) / 2` with `decay_steps`.

    The first step of a warmup therefore has a learning rate of 0 and only fills Adam's moments, as published.
    """

    def schedule(step: Array) -> Array:
        step = jnp.asarray(step, jnp.float32)
        rate = lr * jnp.minimum(step / warmup, 1.0) if warmup > 0 else lr * jnp.ones_like(step)
        if decay_steps is not None:
            rate = rate * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(step / decay_steps, 1.0)))
        return rate

    return schedule


def trained_mask(patterns: Sequence[str], params: Any) -> Any:
    """The tree of `params` with False for those whose path, such as "Dense_0/kernel", matches one of the patterns.

    Errors: ValueError for a pattern that no path matches.
    """
    paths = ["/".join(path) for path in flatten_dict(params)]
    for pattern in patterns:
        if not any(_matches(path, [pattern]) for path in paths):
            raise ValueError(
                f"config.optim.frozen has {pattern!r}, which no parameter matches; the nearest is "
                f"{nearest(pattern, paths)!r}."
            )
    return unflatten_dict({tuple(path.split("/")): not _matches(path, patterns) for path in paths})


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def adam(
    schedule: optax.Schedule,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    grad_clip: float = -1.0,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay, on gradients clipped to a global norm of `grad_clip` (negative: not clipped).

        g <- g c / max(|g|, c),   m, v <- Adam's moments,   params <- params - lr (m^ / (sqrt(v^) + eps) + decay params)

    Notes: the published code has no setting for beta2.
    """
    return optax.chain(
        optax.clip_by_global_norm(grad_clip) if grad_clip >= 0 else optax.identity(),
        optax.scale_by_adam(b1=beta1, b2=beta2, eps=eps),
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
        optax.scale_by_learning_rate(schedule),
    )


OPTIMIZERS = {"Adam": adam}

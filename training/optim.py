"""Optimizers by name and learning-rate schedules, with optax."""

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from optax import contrib

from core.arrays import Array
from core.tables import nearest
from training.leafwise import clip_by_global_norm, scale_by_adam, scale_by_learning_rate

Shape = Callable[[Array], Array]  # step, float32 -> the learning rate, as a multiple of the largest


def constant(step: Array) -> Array:
    """1."""
    return jnp.ones_like(step)


def cosine(num_steps: int) -> Shape:
    """`(1 + cos(pi k / num_steps)) / 2` at step k, and 0 from then on."""
    return lambda step: 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(step / num_steps, 1.0)))


def warmup_stable_decay(num_steps: int, decay_steps: int) -> Shape:
    """1, and over the last `decay_steps` of `num_steps` linearly to 0. Source: Hu et al., MiniCPM, 2024, section 4."""
    return lambda step: jnp.clip((num_steps - step) / decay_steps, 0.0, 1.0)


def inverse_sqrt(start: int) -> Shape:
    """`sqrt(start / max(k, start))` at step k. Source: Karras et al., CVPR 2024 (EDM2), equation 67."""
    return lambda step: jnp.sqrt(start / jnp.maximum(step, start))


def learning_rate(lr: float, *, warmup: int = 0, shape: Shape = constant) -> optax.Schedule:
    """`lr min(k / warmup, 1) shape(k)` at step k = 0, 1, ...

    The first step of a warmup therefore has a learning rate of 0 and only fills Adam's moments, as published.
    """

    def schedule(step: Array) -> Array:
        step = jnp.asarray(step, jnp.float32)
        rate = lr * jnp.minimum(step / warmup, 1.0) if warmup > 0 else lr * jnp.ones_like(step)
        return rate if shape is constant else rate * shape(step)

    return schedule


def trained_mask(patterns: Sequence[str], params: Any, key: str = "optim.frozen") -> Any:
    """The tree of `params` with False for those whose path, such as "Dense_0/kernel", matches one of the patterns.

    Errors: ValueError for a pattern of the setting `key` that no path matches.
    """
    paths = ["/".join(path) for path in flatten_dict(params)]
    for pattern in patterns:
        if not any(_matches(path, [pattern]) for path in paths):
            raise ValueError(
                f"config.{key} has {pattern!r}, which no parameter matches; the nearest is {nearest(pattern, paths)!r}."
            )
    return unflatten_dict({tuple(path.split("/")): not _matches(path, patterns) for path in paths})


def normalized_mask(patterns: Sequence[str], params: Any) -> Any:
    """The tree of `params` with True for those whose path matches one of the patterns of `optim.normalized`."""
    return jax.tree.map(lambda other: not other, trained_mask(patterns, params, key="optim.normalized"))


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def keep_normalized() -> optax.GradientTransformation:
    """After all else: updates that leave every parameter [..., inputs, outputs] with mean square 1 for each output.

        update <- w / rms(w) - params,   w = params + update

    For layers that divide by the norm of their weights, whose gradients are orthogonal to them: without it weights grow
    with every step and learn ever more slowly. Source: Karras et al., CVPR 2024, section 2.3 ("forced weight
    normalization").
    """

    def init(params: Any) -> optax.EmptyState:
        return optax.EmptyState()

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        def of(step: Array, param: Array) -> Array:
            w = param + step
            squares = jnp.mean(w**2, axis=tuple(range(w.ndim - 1)), keepdims=True)
            return w * jax.lax.rsqrt(jnp.maximum(squares, jnp.finfo(w.dtype).tiny)) - param

        return jax.tree.map(of, updates, params), state

    return optax.GradientTransformation(init, update)


class Moments(NamedTuple):
    """Decay rates of the first and second moment, and what is added to a denominator."""

    beta1: float
    beta2: float
    eps: float


def muon(moments: Moments) -> optax.GradientTransformation:
    """Orthogonalized momentum for kernels, as matrices from all inputs to the outputs; `nadamw` for the rest.

    Scaled to the root mean square of Adam's updates, 0.2, so that rates mean the same. Source: Jordan et al.,
    "Muon", 2024; the scale: Liu et al., "Muon is Scalable for LLM Training", 2025.
    """

    def dimensions(params: Any) -> Any:
        def of(path: tuple, leaf: Array) -> contrib.MuonDimensionNumbers | None:
            if getattr(path[-1], "key", "") != "kernel" or leaf.ndim < 2:
                return None
            return contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

        return jax.tree_util.tree_map_with_path(of, params)

    return contrib.muon(
        -1.0,  # optax subtracts; here the learning rate does
        beta=moments.beta1,
        adam_b1=moments.beta1,
        adam_b2=moments.beta2,
        eps=moments.eps,
        muon_weight_dimension_numbers=dimensions,
        consistent_rms=0.2,
    )


def _adam(moments: Moments) -> optax.GradientTransformation:
    return scale_by_adam(moments.beta1, moments.beta2, moments.eps)


# By name: what becomes of gradients before weight decay and the learning rate.
DIRECTIONS: dict[str, Callable[[Moments], optax.GradientTransformation]] = {
    "Adam": _adam,
    "adamw": _adam,
    "nadamw": lambda m: optax.scale_by_adam(b1=m.beta1, b2=m.beta2, eps=m.eps, nesterov=True),
    "radam": lambda m: optax.scale_by_radam(b1=m.beta1, b2=m.beta2, eps=m.eps),
    "adabelief": lambda m: optax.scale_by_belief(b1=m.beta1, b2=m.beta2, eps=m.eps),
    "lion": lambda m: optax.scale_by_lion(b1=m.beta1, b2=m.beta2),
    "muon": muon,
    "rmsprop": lambda m: optax.scale_by_rms(decay=m.beta2, eps=m.eps),
    "sgd": lambda m: optax.trace(decay=m.beta1) if m.beta1 else optax.identity(),
    "schedule_free_adamw": lambda m: optax.scale_by_adam(b1=0.0, b2=m.beta2, eps=m.eps),
    "schedule_free_sgd": lambda m: optax.identity(),
}
WITH_ADAMS_MOMENTS = ("Adam", "adamw", "nadamw")
SCHEDULE_FREE = ("schedule_free_adamw", "schedule_free_sgd")


def _decay(rate: float, fixed: Sequence[str]) -> optax.GradientTransformation:
    """`update + rate params`, of parameters whose path matches no pattern of `fixed`."""

    def of(path: tuple, update: Array, param: Array) -> Array:
        spared = _matches(jax.tree_util.keystr(path, simple=True, separator="/"), fixed)
        return update if spared else update + rate * param

    return optax.stateless(lambda updates, params: jax.tree_util.tree_map_with_path(of, updates, params))


def optimizer(
    name: str,
    schedule: optax.Schedule,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decayed: Callable[[Any], Any] | None = None,
    fixed: Sequence[str] = (),
    grad_clip: float = -1.0,
) -> optax.GradientTransformation:
    """A row of `DIRECTIONS` with decoupled weight decay, on gradients clipped to a global norm of `grad_clip`.

        g <- g c / max(|g|, c),   params <- params - lr (direction(g) + decay params)

    `decayed`: the parameters that decay, as a tree of bools; all by default, but those whose paths match a pattern of
    `fixed`, if there are any, never do. A negative `grad_clip` does not clip.
    Schedule-free ones replace the momentum by `beta1` times an average of all parameters so far; see `averaged`.
    Notes: the published code has no setting for beta2.
    """
    decay = _decay(weight_decay, fixed) if weight_decay else optax.identity()
    decay = optax.masked(decay, decayed) if weight_decay and decayed else decay
    clip = clip_by_global_norm(grad_clip) if grad_clip >= 0 else optax.identity()
    direction, scale = DIRECTIONS[name](Moments(beta1, beta2, eps)), scale_by_learning_rate(schedule)
    if name in SCHEDULE_FREE:
        return optax.chain(clip, contrib.schedule_free(optax.chain(direction, decay, scale), schedule, b1=beta1))
    return optax.chain(clip, direction, decay, scale)


def adam(schedule: optax.Schedule, **options: Any) -> optax.GradientTransformation:
    """`optimizer("Adam", ...)`."""
    return optimizer("Adam", schedule, **options)


def averaged(opt_state: Any, params: Any, beta1: float) -> Any:
    """The average x that a schedule-free optimizer evaluates, from its state (with z) and the parameters y it trains.

    y = (1 - beta1) z + beta1 x. Source: Defazio et al., "The Road Less Scheduled", NeurIPS 2024, equation 2.
    """

    def of(z: Any, y: Array) -> Array:
        return y if isinstance(z, optax.MaskedNode) else (y - (1 - beta1) * z) / beta1

    z = optax.tree.get(opt_state, "z")
    return jax.tree.map(of, z, params, is_leaf=lambda node: isinstance(node, optax.MaskedNode))

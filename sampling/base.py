"""What all samplers share: samples, steps, constraints, the protocol of a sampler, and how noise is addressed.

Noise is addressed, not threaded: every draw is `fold_in` of the example's own key with the number of the step and the
purpose, so example i depends neither on its batch nor on how many draws were made before.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np

from core.arrays import Array, broadcast_to_rank
from core.keys import SampleKey, example_keys, fold_in
from sde.base import SDE, ScoreFn

Start = tuple[Array, float]  # x [B, ...] and the time at which it lives


class Sample(NamedTuple):
    """A sample `x` [B, ...] and `mean` [B, ...], the same without its last noise."""

    x: Array
    mean: Array


class Samples(NamedTuple):
    """What a sampler returns: `x` [B, ...] and `num_evals`, the calls of the score function (int32, counted).

    `states` [K, B, ...]: where `trajectory = K` was asked for, K states from the first steps to the last, which is x.
    """

    x: Array
    num_evals: Array
    states: Array | None = None


Step = Callable[[Array, ScoreFn, SDE, Array, Array, Array], Sample]  # (z [B, ...], score_fn, sde, x, t [B], t_next [B])
Constrain = Callable[[Array, Sample, Array], Sample]  # (z [B, ...], sample, t [B] at which the sample now lives)


def unconstrained(z: Array, sample: Sample, t: Array) -> Sample:
    """The constraint that does nothing."""
    return sample


class Sampler(Protocol):
    """A way to draw samples of `shape` [B, ...] with a score function.

    `key`: one key, of which example i takes `fold_in(key, i)`, or one key per example [B].
    `start`: `(x, t)` to begin from instead of the prior; t is a Python float.
    `constrain`: applied to every sample of the way, with the time at which it lives and fresh noise.
    `trajectory`: how many states of the way to return, evenly spread over the steps; 0 for none.
    """

    def __call__(
        self,
        key: Array,
        score_fn: ScoreFn,
        shape: Sequence[int],
        *,
        start: Start | None = None,
        constrain: Constrain = unconstrained,
        trajectory: int = 0,
    ) -> Samples:
        """Samples [B, ...], and how often the score function was called."""
        ...


def keys_of_examples(key: Array, num: int) -> Array:
    """One key per example [B] from either form of `key`. Errors: ValueError where their number is not `num`."""
    if key.ndim == 0:
        return example_keys(key, num)
    if key.shape != (num,):
        raise ValueError(f"key has shape {key.shape}, but there are {num} examples: give one key, or one per example.")
    return key


def begin(sde: SDE, keys: Array, shape: Sequence[int], start: Start | None) -> Array:
    """The first x [B, ...]: that of `start`, or a draw from the prior. Consumes `fold_in(keys, SampleKey.PRIOR)`."""
    if start is None:
        return sde.prior_sample(fold_in(keys, SampleKey.PRIOR), shape)
    x = jnp.asarray(start[0])
    if x.shape != tuple(shape):
        raise ValueError(f"start has shape {x.shape}, but samples of shape {tuple(shape)} were asked for.")
    return x


def slots(num_steps: int, trajectory: int) -> Array:
    """Where `record` puts the state after each step [N]: number k of `trajectory`, or past the end (not kept).

    Errors: ValueError for a trajectory of more states than there are steps.
    """
    if not 0 <= trajectory <= num_steps:
        raise ValueError(
            f"trajectory = {trajectory}, but there are {num_steps} steps: ask for 0 to {num_steps} states."
        )
    slot = np.full(num_steps, trajectory, np.int32)
    kept = np.ceil(np.arange(1, trajectory + 1) * num_steps / max(trajectory, 1)).astype(int) - 1
    slot[kept] = np.arange(trajectory)
    return jnp.asarray(slot)


def blank_states(x: Array, trajectory: int) -> Array | None:
    """Room for `trajectory` states like x [B, ...]: [K, B, ...], or nothing."""
    return jnp.zeros((trajectory, *x.shape), x.dtype) if trajectory else None


def record(states: Array | None, slot: Array | int, x: Array) -> Array | None:
    """`states` [K, B, ...] with x [B, ...] at `slot`, unless that is past their end."""
    return None if states is None else states.at[slot].set(x, mode="drop")


def posterior_mean(score_fn: ScoreFn, sde: SDE, x: Array, t: Array) -> Array:
    """Expected data of a noisy `x` [B, ...] at time `t` [B]: one call of the score function.

    E[x_0 | x_t] = (x_t + std(t)^2 score(x_t, t)) / mean_coeff(t)

    Source: Tweedie's formula (Efron 2011, equation 1.4) for the kernels of Song et al. 2021, equation 29.
    Notes: the published code takes one more noise-free reverse step of size 1/N instead.
    """
    return (x + broadcast_to_rank(sde.std(t) ** 2, x) * score_fn(x, t)) / broadcast_to_rank(sde.mean_coeff(t), x)

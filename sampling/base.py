"""What all samplers share: samples, steps, constraints, the protocol of a sampler, and how noise is addressed.

Noise is addressed, not threaded: all noise comes from `fold_in` of the example's own key with the number of the step
and the purpose, so example i depends neither on its batch nor on the noise sampled before.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import jax.numpy as jnp

from core.arrays import Array
from core.keys import SampleKey, draw_normal, example_keys, fold_in
from corruption.predictions import Predict
from sde.base import SDE

Start = tuple[Array, float]  # x [B, ...] and its time


class Sample(NamedTuple):
    """A sample `x` [B, ...], and `mean` [B, ...], the same without the noise added last."""

    x: Array
    mean: Array


class Samples(NamedTuple):
    """What a sampler returns: `x` [B, ...] and `num_evals`, the number of predictions (calls of the network, int32).

    `states` [K, B, ...]: with `trajectory = K`, K states in the order of the steps; the last one is x. Otherwise None.
    """

    x: Array
    num_evals: Array
    states: Array | None = None


Step = Callable[[Array, Predict, SDE, Array, Array, Array], Sample]  # (z [B, ...], predict, sde, x, t [B], t_next [B])
Constrain = Callable[[Array, Sample, Array], Sample]  # (keys [B], which it consumes, sample, its time t [B])
Replace = Callable[[Array, Sample, Array], Sample]  # (standard normal z [B, ...], sample, its time t [B])


def unconstrained(keys: Array, sample: Sample, t: Array) -> Sample:
    """The constraint that does nothing."""
    return sample


def with_noise(replace: Replace) -> Constrain:
    """The constraint that gives standard normal noise of the shape of the sample to `replace`."""
    return lambda keys, sample, t: replace(draw_normal(keys, sample.x.shape), sample, t)


class Sampler(Protocol):
    """A method that generates samples of `shape` [B, ...] from a prediction of the data and the noise.

    `key`: one key, from which example i uses `fold_in(key, i)`, or one key per example [B].
    `start`: `(x, t)` to start from instead of the prior; t is a Python float.
    `constrain`: applied to the sample after every step, with its time and fresh keys.
    `trajectory`: number of intermediate states to return, evenly spaced over the steps; 0 for none.
    """

    def __call__(
        self,
        key: Array,
        predict: Predict,
        shape: Sequence[int],
        *,
        start: Start | None = None,
        constrain: Constrain = unconstrained,
        trajectory: int = 0,
    ) -> Samples:
        """Samples [B, ...], and the number of predictions."""
        ...


def keys_of_examples(key: Array, num: int) -> Array:
    """One key per example [B] from either form of `key`. Errors: ValueError unless there are `num` keys."""
    if key.ndim == 0:
        return example_keys(key, num)
    if key.shape != (num,):
        raise ValueError(f"key has shape {key.shape}, but there are {num} examples: give one key, or one per example.")
    return key


def begin(
    prior: Callable[[Array, Sequence[int]], Array], keys: Array, shape: Sequence[int], start: Start | None
) -> Array:
    """The initial x [B, ...]: that of `start`, or a sample of the prior from `fold_in(keys, SampleKey.PRIOR)`.

    Errors: ValueError for a start of another shape.
    """
    if start is None:
        return prior(fold_in(keys, SampleKey.PRIOR), shape)
    x = jnp.asarray(start[0])
    if x.shape != tuple(shape):
        raise ValueError(f"start has shape {x.shape}, but the samples have shape {tuple(shape)}.")
    return x

"""What systems that sample with a network share: guidance, the compiled sampler, classes, the units of the data."""

import abc
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders.condition import conditions
from builders.guidance import Asked, Guide
from core.arrays import Array
from runtime.memory import MemoryBoundedSampler, free_bytes
from sampling.base import Sampler, Samples
from systems.base import Generate, System
from training.objectives.base import Variables

SWITCHES = {"loss": "enable_loss", "bits_per_dim": "enable_bpd", "samples": "enable_sampling"}  # published, in `eval`


def switched_on(settings: ConfigDict) -> tuple[str, ...]:
    """The evaluations whose switch in `eval` is on."""
    return tuple(name for name, switch in SWITCHES.items() if settings[switch])


class Generative(System):
    """A model with a sampler; a subclass sets `sampler`, `to_model` and `to_data`, and says what guides it."""

    sampler: Sampler
    to_model: Callable[[Array], Array]
    to_data: Callable[[Array], Array]

    @abc.abstractmethod
    def make_guide(self) -> Guide:
        """What guides the sampler; may read the checkpoint of another run."""

    @property
    def enabled(self) -> tuple[str, ...]:
        """The evaluations that `eval.tasks` names; where it is empty, those whose published switch is on."""
        return tuple(self.config.eval.tasks) or switched_on(self.config.eval)

    @property
    def num_labels(self) -> int:
        """The classes of the model, or of the classifier that guides it."""
        return self.guide.num_labels

    @functools.cached_property
    def guide(self) -> Guide:
        """What guides the sampler; reads the checkpoint of the guiding network, where there is one."""
        return self.make_guide()

    def open_guide(self) -> None:
        """Reads the guide. Errors: ValueError where its checkpoint is missing or does not fit."""
        _ = self.guide

    @property
    def generate(self) -> Generate:
        """What is asked for reaches the network as it is; see `generate_given`."""
        return self.generate_given

    @functools.cached_property
    def generate_given(self) -> Generate:
        """`(variables, keys [num], what is asked for) -> {"samples" [num, ...], "num_evals"}`, compiled.

        Asked for are None, class labels [num], or a batch of values of the fields that the network is conditioned on.
        One program for all samples, or for as many at a time as fit into a device that reports its memory.
        With `sampling.trajectory = K` also "states" [num, K, ...]: states along the way.
        """

        def fn(weights: Any, guide_params: Any, keys: Array, asked: Asked) -> dict[str, Array]:
            sampled = self.sampled(weights, guide_params, keys, asked)
            states = {} if sampled.states is None else {"states": self.to_data(jnp.moveaxis(sampled.states, 0, 1))}
            return {"samples": self.to_data(sampled.x), "num_evals": sampled.num_evals, **states}

        device = self.devices.mesh.devices.flat[0]
        alone = jax.process_count() == 1  # several processes would have to agree
        compiled = MemoryBoundedSampler(jax.jit(fn), self.devices.count, lambda: free_bytes(device) if alone else 0)
        return lambda variables, keys, asked: compiled(self.weights(variables), self.guide.params, keys, asked)

    def weights(self, variables: Variables) -> Any:
        """What predictions are made of."""
        return variables["params"]

    def sampled(self, weights: Any, guide_params: Any, keys: Array, asked: Asked) -> Samples:
        """Samples in the model's own units, one for each key."""
        predict, shape = self.guide.predict_of(weights, guide_params, asked), (len(keys), *self.spec.shape)
        return self.sampler(keys, predict, shape, trajectory=self.config.sampling.trajectory)

    def encode(self, variables: Variables, values: Array) -> Array:
        """Values of the data [N, ...] as the network sees them, without noise."""
        return self.to_model(values)

    def decode(self, variables: Variables, x: Array) -> Array:
        """The inverse of `encode`."""
        return self.to_data(x)

    def labels(self, start: int, num: int) -> Asked:
        """What samples start ... start + num - 1 are asked for: each class in turn; None without classes.

        With `model.conditions`, the values of the training examples in turn, and their classes.
        """
        num_labels, names = self.guide.num_labels, [c.name for c in conditions(self.config)]
        if names:
            train = self.context.splits.train
            values = train.fetch(np.arange(start, start + num) % len(train))
            return {name: jnp.asarray(values[name]) for name in (*names, *(("label",) if num_labels else ()))}
        return jnp.arange(start, start + num) % num_labels if num_labels else None

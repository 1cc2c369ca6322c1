"""Score-based generative models of SDEs: objective, samples, likelihood."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders import data, guidance, inverse, likelihood
from builders.condition import conditions
from builders.guidance import Asked, Guide
from builders.network import check_outputs
from builders.objective import make_objective
from builders.process import make_sde
from builders.sampler import describe, make_sampler
from builders.score import make_predict_of
from core.arrays import Array
from core.keys import RunKey, fold_in, keys_at
from core.tables import choose
from evaluation.rounds import Task
from evaluation.tasks.per_example import per_example_task
from runtime.memory import MemoryBoundedSampler, free_bytes
from systems.base import Context, Evaluation, Generate, System
from systems.density import Density, density_of
from systems.requests.base import RequestTask
from systems.requests.table import REQUESTS
from training.objectives.base import Batch, Variables

SWITCHES = {"loss": "enable_loss", "bits_per_dim": "enable_bpd", "samples": "enable_sampling"}  # published, in `eval`


def switched_on(settings: ConfigDict) -> tuple[str, ...]:
    """The evaluations whose switch in `eval` is on."""
    return tuple(name for name, switch in SWITCHES.items() if settings[switch])


class Diffusion(System):
    """A score model: its SDE, predictions, sampler and likelihood, as the config describes them."""

    def __init__(self, context: Context):
        check_outputs(context.config, logits=False)
        super().__init__(context)
        config, num_levels = context.config, context.spec.num_levels
        choose("sampling.guidance", config.sampling.guidance, guidance.GUIDANCES)
        choose("restore.method", config.restore.method, inverse.METHODS)
        self.objective = make_objective(config, num_levels, self.devices.gather_params)
        self.sde = make_sde(config)
        self.predict_of, self.sampler = make_predict_of(config, config.eval.bpd_dtype), make_sampler(config)
        self.measure_bits_per_dim = likelihood.bits_per_dim(config, self.sde, num_levels)
        self.fit_dequantization = likelihood.fit_dequantization(config, self.sde, num_levels)
        self.to_model, self.to_data = data.to_model(config, num_levels), data.to_data(config, num_levels)

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """Loss, bits (or nats) per dimension, samples."""
        return {"loss": self.loss_task, "bits_per_dim": self.bits_per_dim_task, "samples": self.samples_task}

    @property
    def enabled(self) -> tuple[str, ...]:
        """The evaluations that `eval.tasks` names; where it is empty, those whose published switch is on."""
        return tuple(self.config.eval.tasks) or switched_on(self.config.eval)

    @property
    def subject(self) -> tuple[str, ...]:
        """Data, network and SDE."""
        return self.config.data.dataset, self.config.model.name, self.config.training.sde

    @property
    def requests(self) -> Mapping[str, RequestTask]:
        """Samples, restoration, latent codes."""
        return REQUESTS

    @property
    def density(self) -> Density:
        """That of the probability-flow ODE; posteriors by the sampler."""
        return density_of(self)

    @property
    def num_labels(self) -> int:
        """The classes of the model, or of the classifier that guides it."""
        return self.guide.num_labels

    @property
    def sampler_in_words(self) -> str:
        """The sampler of the config."""
        return describe(self.config)

    @functools.cached_property
    def guide(self) -> Guide:
        """What guides the sampler; reads the checkpoint of the guiding network, where there is one."""
        return guidance.guide(self.config, self.devices.replicated, self.context.load_network)

    def open_guide(self) -> None:
        """Reads the guide. Errors: ValueError where its checkpoint is missing or does not fit."""
        _ = self.guide

    @functools.cached_property
    def generate(self) -> Generate:
        """`(variables, keys [num], what is asked for) -> {"samples" [num, ...], "num_evals"}`, compiled.

        Asked for are None, class labels [num], or a batch of values of the fields that the network is conditioned on.
        One program for all samples, or for as many at a time as fit into a device that reports its memory.
        With `sampling.trajectory = K` also "states" [num, K, ...]: states along the way.
        """
        trajectory = self.config.sampling.trajectory

        def fn(params: Any, guide_params: Any, keys: Array, asked: Asked) -> dict[str, Array]:
            predict = self.guide.predict_of(params, guide_params, asked)
            sampled = self.sampler(keys, predict, (len(keys), *self.spec.shape), trajectory=trajectory)
            states = {} if sampled.states is None else {"states": self.to_data(jnp.moveaxis(sampled.states, 0, 1))}
            return {"samples": self.to_data(sampled.x), "num_evals": sampled.num_evals, **states}

        device = self.devices.mesh.devices.flat[0]
        alone = jax.process_count() == 1  # several processes would have to agree
        compiled = MemoryBoundedSampler(jax.jit(fn), self.devices.count, lambda: free_bytes(device) if alone else 0)
        return lambda variables, keys, asked: compiled(variables["params"], self.guide.params, keys, asked)

    def encode(self, variables: Variables, values: Array) -> Array:
        """Levels or floats [N, ...] as the network sees them, without noise; see `builders.data.to_model`."""
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

    def bits_per_dim_task(self, number: int, variables: Variables) -> Task:
        """Bits (or nats) per dimension of each example, exactly once (times `eval.bpd_repeats`)."""
        key, source = fold_in(self.key, RunKey.LIKELIHOOD), self.context.splits.named(self.config.eval.bpd_dataset)
        learned = functools.cache(
            lambda: self.learned_dequantization(variables["params"])
        )  # not where all rounds are done

        def evaluate(batch: dict[str, Any]) -> dict[str, Array]:
            keys = keys_at(fold_in(key, batch["repeat"]), batch["index"])
            return self.bits_per_dim(variables["params"], keys, self.on_devices(batch), learned())

        name, repeats = likelihood.quantity(source.num_levels), self.config.eval.bpd_repeats
        return per_example_task(name, *self.batches(source), evaluate, quantity=name, repeats=repeats, rank=2)

    @functools.cached_property
    def bits_per_dim(self) -> Callable[[Any, Array, Batch, Any], dict[str, Array]]:
        """`(params, keys [B], batch, learned) -> {"bits_per_dim" [B], "logp_nats" [B], "num_evals"}`, compiled.

        "nats_per_dim" instead for values without levels. `learned`: parameters of the dequantization, or None. With
        several probes also "probe_standard_error" [B], in bits/dim; see `builders.likelihood.bits_per_dim`.
        """
        measure = self.measure_bits_per_dim
        return jax.jit(
            lambda params, keys, batch, learned: measure(
                self.predict_of(params, batch, None), keys, batch["x"], learned
            )
        )

    def learned_dequantization(self, params: Any) -> Any:
        """Parameters of the dequantization that suits a model best, or None; learned on training images, each time."""
        size = self.config.training.batch_size

        def batches(step: int) -> Array:
            train = self.context.splits.train
            draw = np.random.default_rng([self.config.seed, step])
            return jnp.asarray(train.fetch(draw.integers(0, len(train), size))["x"])

        return self.fit_dequantization(
            lambda weights: self.predict_of(weights, {}, None), params, fold_in(self.key, RunKey.DEQUANTIZE), batches
        )

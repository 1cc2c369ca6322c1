"""Models of residual tokens: all depths of all positions in a few rounds, or one token after the other."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from builders import resgen
from builders.codec import STAGE
from builders.guidance import Asked, Guide
from builders.resgen import Weights
from builders.score import working_params
from builders.tokenizer import make_tokenizer, residual_quantizer
from core.arrays import Array
from core.keys import RunKey, fold_in, keys_at
from core.target import float32_products
from evaluation.rounds import Task
from evaluation.tasks.per_example import per_example_task
from models.tokenizers.rvq import ResidualQuantizer
from sampling.base import Samples
from systems.base import Context, Evaluation
from systems.generative import Generative
from systems.requests.base import RequestTask
from systems.requests.generate import UNCONDITIONAL, ByClass, by_class
from training.frozen import FROZEN
from training.objectives.base import Batch, Params, Variables


class ResGen(Generative):
    """A model of the tokens of a residual tokenizer; `systems.latent.Latent` encodes data and decodes samples.

    Its predictions and samplers need the codebook, which is among the variables of the stage `tokenizer`.
    """

    def __init__(self, context: Context):
        super().__init__(context)
        config, self.quantizer = context.config, _quantizer(context)
        resgen.check_sampling(config)
        self.num_steps = resgen.num_steps(config)
        dim = self.quantizer.level.dim
        self.objective = resgen.make_objective(config, dim, self.weights, self.devices.gather_params)
        self.predict_of = resgen.make_predict_of(config, dim, config.eval.bpd_dtype)
        self.measure_bits_per_dim = resgen.bits_per_dim(config)
        self.to_model = self.to_data = lambda tokens: tokens
        resgen.guide(config, dim, self.devices.replicated, context.load_network)

    def init(self, key: Array) -> Variables:
        """The parameters of the transformer and its head."""
        return {"params": resgen.initial_params(self.config, self.quantizer.level.dim, key)}

    def working_params(self, params: Params) -> Params:
        """In the type that the network computes in."""
        return working_params(self.config, params)

    def weights(self, variables: Variables) -> Weights:
        """Parameters and codebook."""
        return Weights(variables["params"], self.quantizer.vectors(variables[FROZEN][STAGE]))

    def sampled(self, weights: Any, guide_params: Any, keys: Array, asked: Asked) -> Samples:
        """Tokens, in the rounds of the config."""
        predict, shape = self.guide.predict_of(weights, guide_params, asked), (len(keys), *self.spec.shape)
        sampler = resgen.make_sampler(self.config, weights.vectors)
        return sampler(keys, predict, shape, trajectory=self.config.sampling.trajectory)

    def make_guide(self) -> Guide:
        """Classifier-free guidance, temperature and top-p."""
        dim = self.quantizer.level.dim
        return resgen.guide(self.config, dim, self.devices.replicated, self.context.load_network)

    @property
    def subject(self) -> tuple[str, ...]:
        """Data, system and head."""
        return self.config.data.dataset, self.config.system, self.config.resgen.head

    @property
    def sampler_in_words(self) -> str:
        """The order and the number of network calls."""
        return f"{resgen.order(self.config)}, {self.num_steps} steps"

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """Loss, bits per token, samples."""
        return {"loss": self.loss_task, "bits_per_dim": self.bits_per_dim_task, "samples": self.samples_task}

    @property
    def requests(self) -> Mapping[str, RequestTask]:
        """Samples, also of classes."""
        return {"unconditional": UNCONDITIONAL, "class": RequestTask(ByClass, by_class)}

    def bits_per_dim_task(self, number: int, variables: Variables) -> Task:
        """The bound (or, one token after the other, the value) of each example, in bits per token."""
        key, source = fold_in(self.key, RunKey.LIKELIHOOD), self.context.splits.named(self.config.eval.bpd_dataset)

        def evaluate(batch: dict[str, Any]) -> dict[str, Array]:
            keys = keys_at(fold_in(key, batch["repeat"]), batch["index"])
            return self.bits_per_dim(variables, keys, self.on_devices(batch))

        name, repeats = "bits_per_dim", self.config.eval.bpd_repeats
        return per_example_task(name, *self.batches(source), evaluate, quantity=name, repeats=repeats, rank=2)

    @functools.cached_property
    def bits_per_dim(self) -> Callable[[Variables, Array, Batch], dict[str, Array]]:
        """`(variables, keys [B], batch) -> {"bits_per_dim" [B], ...}`, compiled; see `builders.resgen`."""

        def measure(variables: Variables, keys: Array, batch: Batch) -> dict[str, Array]:
            weights = self.weights(variables)
            with float32_products("highest"):
                predict = self.predict_of(weights, batch, None)
                return self.measure_bits_per_dim(weights)(predict, keys, jnp.asarray(batch["x"]))

        return jax.jit(measure)


def _quantizer(context: Context) -> ResidualQuantizer:
    """The quantizer of the stage. Errors: ValueError without one, or for another tokenizer."""
    stage = context.open_stages((STAGE,)).get(STAGE)
    if stage is None:
        raise ValueError(
            "config.system = 'resgen' models the tokens of a residual tokenizer; name its run by "
            "config.model.stages = ('tokenizer=WORKDIR',)."
        )
    found = residual_quantizer(make_tokenizer(stage.config))
    if found is None:
        raise ValueError(
            "config.model.stages names a tokenizer with config.tokenizer.quantizer = "
            f"{stage.config.tokenizer.quantizer!r}, but config.system = 'resgen' needs 'rvq'; name another run."
        )
    return found

"""Diffusion of categories: levels of images, or tokens of any other kind; masked or with uniform noise."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax

from builders import categorical
from builders.guidance import Guide
from builders.network import check_outputs
from builders.process import make_corruption
from builders.score import working_params
from core.arrays import Array
from core.keys import RunKey, fold_in, keys_at
from core.target import float32_products
from evaluation.rounds import Task
from evaluation.tasks.per_example import per_example_task
from sampling.loop import FixedStep
from systems.base import Context, Evaluation
from systems.generative import Generative
from systems.requests.base import RequestTask
from systems.requests.complete import Completion, completion
from systems.requests.conditioned import Conditioned, conditioned
from systems.requests.generate import UNCONDITIONAL, ByClass, by_class
from training.objectives.base import Batch, Params, Variables


class CategoricalDiffusion(Generative):
    """A model of categories, with a bound on their likelihood in bits per site."""

    sampler: FixedStep

    def __init__(self, context: Context):
        check_outputs(context.config, "categories")
        super().__init__(context)
        config = context.config
        self._check()
        self.process = make_corruption(config)
        self.objective = categorical.make_objective(config, self.devices.gather_params)
        self.sampler, self.measure_bits_per_dim = categorical.make_sampler(config), categorical.bits_per_dim(config)
        self.predict_of = categorical.make_predict_of(config, config.eval.bpd_dtype)
        self.to_model, self.to_data = categorical.to_model, categorical.to_data(config, self.spec.dtype)
        categorical.guide(config, self.devices.replicated, context.load_network)

    def working_params(self, params: Params) -> Params:
        """In the type that the network computes in."""
        return working_params(self.config, params)

    def _check(self) -> None:
        """Errors: ValueError for data that are no categories, or others than the network's, and for their settings."""
        config, spec = self.config, self.spec
        if not spec.num_levels:
            raise ValueError(
                f"config.system = 'categorical' models levels, but {config.data.dataset} has {spec.dtype} values "
                "without levels; give integers, or use config.system = 'diffusion'."
            )
        if config.model.num_categories != spec.num_levels:
            raise ValueError(
                f"config.model.num_categories = {config.model.num_categories}, but {config.data.dataset} has "
                f"{spec.num_levels} levels; set it to {spec.num_levels}, or config.data.num_levels to what they use."
            )
        for key, off in (("data.uniform_dequantization", False), ("data.augment", 0.0)):
            section, name = key.split(".")
            if config[section][name] != off:
                raise ValueError(
                    f"config.{key} = {config[section][name]} changes levels to values between them, which are no "
                    f"categories; set it to {off}."
                )

    @property
    def subject(self) -> tuple[str, ...]:
        """Data, network and corruption."""
        return self.config.data.dataset, self.config.model.name, self.config.model.corruption

    @property
    def sampler_in_words(self) -> str:
        """The method and its number of steps."""
        return f"{self.config.sampling.method}, {len(self.sampler.times) - 1} steps"

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """Loss, bits per dimension, samples."""
        return {"loss": self.loss_task, "bits_per_dim": self.bits_per_dim_task, "samples": self.samples_task}

    @property
    def requests(self) -> Mapping[str, RequestTask]:
        """Samples, also of classes, and with known sites."""
        return {
            "unconditional": UNCONDITIONAL,
            "class": RequestTask(ByClass, by_class),
            "conditioned": RequestTask(Conditioned, conditioned),
            "inpaint": RequestTask(Completion, completion),
        }

    def make_guide(self) -> Guide:
        """Classifier-free guidance, temperature and top-p."""
        return categorical.guide(self.config, self.devices.replicated, self.context.load_network)

    def bits_per_dim_task(self, number: int, variables: Variables) -> Task:
        """The bound of each example in bits per dimension, exactly once (times `eval.bpd_repeats`)."""
        key, source = fold_in(self.key, RunKey.LIKELIHOOD), self.context.splits.named(self.config.eval.bpd_dataset)

        def evaluate(batch: dict[str, Any]) -> dict[str, Array]:
            keys = keys_at(fold_in(key, batch["repeat"]), batch["index"])
            return self.bits_per_dim(variables["params"], keys, self.on_devices(batch))

        name, repeats = "bits_per_dim", self.config.eval.bpd_repeats
        return per_example_task(name, *self.batches(source), evaluate, quantity=name, repeats=repeats, rank=2)

    @functools.cached_property
    def bits_per_dim(self) -> Callable[[Any, Array, Batch], dict[str, Array]]:
        """`(params, keys [B], batch) -> {"bits_per_dim" [B], ...}`, compiled; see `builders.categorical`."""

        def measure(params: Any, keys: Array, batch: Batch) -> dict[str, Array]:
            with float32_products("highest"):
                return self.measure_bits_per_dim(self.predict_of(params, batch, None), keys, batch["x"])

        return jax.jit(measure)

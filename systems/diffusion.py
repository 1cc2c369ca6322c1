"""Score-based generative models of SDEs: objective, samples, likelihood."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from builders import data, guidance, inverse, likelihood, start, teacher
from builders.few_steps import check_density
from builders.guidance import Asked, Guide
from builders.network import check_outputs
from builders.objective import make_objective
from builders.process import make_sde
from builders.sampler import describe, from_time, make_sampler
from builders.score import make_predict_of, working_params
from core.arrays import Array
from core.keys import RunKey, fold_in, keys_at
from core.tables import choose
from core.target import float32_products
from evaluation.rounds import Task
from evaluation.tasks.per_example import per_example_task
from sampling.base import Samples
from systems.base import Context, Evaluation
from systems.density import Density, density_of
from systems.evaluations import series
from systems.evaluations.anomaly import anomaly
from systems.evaluations.novelty import Novelty
from systems.evaluations.reconstruction import reconstruction
from systems.evaluations.segmentation import segmentation
from systems.generative import Generative
from systems.requests.base import RequestTask
from systems.requests.table import REQUESTS
from training.objectives.base import Batch, Params, Variables


class Diffusion(Generative):
    """A score model: its SDE, predictions, sampler and likelihood, as the config describes them."""

    def __init__(self, context: Context):
        check_outputs(context.config, "prediction")
        self.stages = teacher.stages(context.config)
        super().__init__(context)
        config, num_levels = context.config, context.spec.num_levels
        choose("sampling.guidance", config.sampling.guidance, guidance.GUIDANCES)
        choose("restore.method", config.restore.method, inverse.METHODS)
        start.check(config)
        stage = self.frozen.get(teacher.TEACHER)
        self.objective = make_objective(config, num_levels, self.devices.gather_params, stage)
        self.sde = make_sde(config)
        self.predict_of, self.sampler = make_predict_of(config, config.eval.bpd_dtype), make_sampler(config)
        self.measure_bits_per_dim = likelihood.bits_per_dim(config, self.sde, num_levels)
        self.fit_dequantization = likelihood.fit_dequantization(config, self.sde, num_levels)
        self.to_model, self.to_data = data.to_model(config, num_levels), data.to_data(config, num_levels)

    def working_params(self, params: Params) -> Params:
        """In the type that the network computes in."""
        return working_params(self.config, params)

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """Loss, bits (or nats) per dimension, samples; restorations and anomalies of test examples; tasks of series."""
        of_series = series.EVALUATIONS if self.config.data.horizon else {}
        return {
            "loss": self.loss_task,
            "bits_per_dim": self.bits_per_dim_task,
            "samples": self.samples_task,
            "reconstruction": functools.partial(reconstruction, self),
            "anomaly": functools.partial(anomaly, self),
            **({name: functools.partial(make, self) for name, make in of_series.items()}),
            **({"segmentation": functools.partial(segmentation, self)} if self.config.model.conditions else {}),
        }

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
    def sampler_in_words(self) -> str:
        """The sampler of the config."""
        return describe(self.config)

    @functools.cached_property
    def start(self) -> start.Start | None:
        """Where samples start; None: at the prior. Otherwise it reads the training data, and may compute a map."""
        if self.config.sampling.start == "prior":
            return None
        train, folder = self.context.splits.train, self.context.folder
        return start.make_start(self.config, train, self.key, self.num_labels, folder)

    def open_guide(self) -> None:
        """Reads the guide and finds the start. Errors: ValueError where a checkpoint is missing or does not fit."""
        super().open_guide()
        _ = self.start

    @functools.cached_property
    def place(self) -> Any:
        """What says where samples start, on every device; None for the prior."""
        return None if self.start is None else self.devices.replicate(self.start.place)

    def weights(self, variables: Variables) -> Any:
        """The parameters of the network, and where samples start."""
        return variables["params"], self.place

    def sampled(self, weights: Any, guide_params: Any, keys: Array, asked: Asked) -> Samples:
        """Samples in the model's own units, one for each key, from the prior or from where the config says."""
        (params, place), start = weights, self.start
        if start is None:
            return super().sampled(params, guide_params, keys, asked)
        predict, shape = self.guide.predict_of(params, guide_params, asked), (len(keys), *self.spec.shape)
        sampler, begin = from_time(self.config, self.sampler, start.t), (start.x(place, keys, shape, asked), start.t)
        return sampler(keys, predict, shape, start=begin, trajectory=self.config.sampling.trajectory)

    @functools.cached_property
    def novelty(self) -> Novelty | None:
        """What says whether samples are copies, where they start from training examples."""
        return None if self.config.sampling.start == "prior" else Novelty(self.context.splits)

    def assess(self, samples: np.ndarray) -> Mapping[str, Any]:
        """Novelty and near copies, where samples start from training examples."""
        return {} if self.novelty is None else self.novelty.assess(samples)

    def samples_task(self, number: int, variables: Variables | None) -> Task:
        """Samples of a checkpoint; with their novelty, where they start from training examples."""
        task = super().samples_task(number, variables)
        return task if self.novelty is None else self.novelty.beside(task)

    def make_guide(self) -> Guide:
        """The guidance that `config.sampling` describes."""
        return guidance.guide(self.config, self.devices.replicated, self.context.load_network)

    def bits_per_dim_task(self, number: int, variables: Variables) -> Task:
        """Bits (or nats) per dimension of each example, exactly once (times `eval.bpd_repeats`)."""
        check_density(self.config)
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
        check_density(self.config)
        ends = likelihood.ends(self.config)

        def measure(params: Any, keys: Array, batch: Batch, learned: Any) -> dict[str, Array]:
            learned = learned if ends is None else ends(params)
            with float32_products("highest"):
                return self.measure_bits_per_dim(self.predict_of(params, batch, None), keys, batch["x"], learned)

        return jax.jit(measure)

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

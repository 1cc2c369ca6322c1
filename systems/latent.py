"""A model of what a tokenizer or auto-encoder makes of the data; its samples and figures are those of the data."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders import likelihood, start
from builders.codec import STAGE, Codec, code_config, make_codec
from builders.few_steps import check_density
from builders.guidance import Asked
from builders.splits import Splits
from core.arrays import Array
from core.keys import ExampleKey, LikelihoodKey, RunKey, fold_in, keys_at
from data.readers.encoded import FORM, read_about
from data.source import Source
from data.spec import DataSpec
from evaluation.rounds import Task
from evaluation.tasks.per_example import per_example_task
from reports.sheets import sample_grid
from systems.base import Context, Evaluation, FetchBatches, Generate, System
from systems.diffusion import Diffusion
from systems.requests.base import Input, RequestTask
from systems.requests.complete import Completion
from systems.requests.complete_codes import code_completion, has_patches
from training import frozen
from training.objectives.base import Batch, Params, Terms, Variables

NUM_BATCHES = 16  # for the statistics of latents


class EncodedSplits(Splits):
    """The tokens of both splits, encoded when they are fetched."""

    def __init__(self, splits: Splits, codec: Codec, variables: Any):
        self._splits, self._codec, self._variables = splits, codec, variables

    @functools.cached_property
    def train(self) -> Source:
        """The training data."""
        return self._encoded(self._splits.train)

    @functools.cached_property
    def test(self) -> Source:
        """The test data."""
        return self._encoded(self._splits.test)

    def _encoded(self, source: Source) -> Source:
        encode = jax.jit(lambda variables, values: self._codec.encode(variables, values))

        def fetch(indices: np.ndarray) -> dict[str, np.ndarray]:
            found = source.fetch(indices)
            return {**found, "x": np.asarray(encode(self._variables(), jnp.asarray(found["x"])))}

        return dataclasses.replace(source, fields={**source.fields, "x": self._codec.field}, fetch=fetch)


class Latent(System):
    """The system that a config names, on codes: of the frozen stage `tokenizer`, or of an auto-encoder of a user's own.

    inner: that system, whose data are codes. Batches are encoded on the fly, unless the data are codes already; samples
    are decoded, so that metrics and grids are those of the data.
    """

    def __init__(self, context: Context, kind: type[System]):
        start.check(context.config)
        self.stages = () if context.config.tokenizer.external else (STAGE,)
        super().__init__(context)
        stage = self.frozen.get(STAGE)
        self.codec: Codec = make_codec(context.config, stage, context.spec)
        self._check_hash()
        spec = DataSpec({**context.spec.fields, "x": self.codec.field})
        splits = context.splits
        if self.codec.tokenizer.num_codes and not self.codec.are_codes:
            splits = EncodedSplits(splits, self.codec, self._host_variables)
        self.inner = kind(
            dataclasses.replace(
                context, config=code_config(context.config, self.codec), spec=spec, splits=splits,
                open_stages=lambda names: {name: self.frozen[name] for name in names if name in self.frozen},
            )
        )  # fmt: skip
        self.objective = self.terms

    def _check_hash(self) -> None:
        """Errors: ValueError for codes that another tokenizer made."""
        if not self.codec.are_codes:
            return
        dataset = self.config.data.dataset
        folder = pathlib.Path(dataset.removeprefix(f"{FORM}:"))
        noted = read_about(folder)["tokenizer"] if folder.exists() else None  # a checkpoint needs no data
        found = frozen.sha256(frozen.to_bytes(self.frozen[STAGE].variables))
        if noted not in (None, found):
            raise ValueError(
                f"{dataset} was made by a tokenizer with the weights of SHA-256 {noted[:12]}, but config.model.stages "
                f"names one with {found[:12]}; give the run that made these codes, or encode the data again."
            )

    def _host_variables(self) -> Variables:
        """The weights of the tokenizer as the collection "frozen"."""
        return {frozen.FROZEN: {name: run.variables for name, run in self.frozen.items()}}

    def init(self, key: Array) -> Variables:
        """The variables of the model, and the statistics of latents."""
        return {**self.inner.init(key), **self.codec.initial_statistics()}

    def working_params(self, params: Params) -> Params:
        """Those of the model."""
        return self.inner.working_params(params)

    def warm_start(self, variables: Variables, fetch_batches: FetchBatches) -> Variables:
        """The statistics of latents, from the first batches."""
        return {**variables, **self.codec.statistics(variables, fetch_batches(NUM_BATCHES))}

    def terms(self, variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array) -> Terms:
        """The losses of the model on the codes of a batch."""
        codes = self.codec.encode(variables, batch["x"], fold_in(keys, ExampleKey.LATENT))
        return self.inner.objective(variables, keys, {**batch, "x": codes}, dropout_key, step)

    @functools.cached_property
    def decoded(self) -> Any:
        """`(variables, codes [B, ...]) -> values of the data`, compiled."""
        return jax.jit(self.codec.decode)

    def encode(self, variables: Variables, values: Array) -> Array:
        """Codes of values of the data; of uncertain latents the means."""
        return self.codec.encode(variables, values)

    def decode(self, variables: Variables, x: Array) -> Array:
        """Values of the data of codes."""
        return self.decoded(variables, x)

    @functools.cached_property
    def generate(self) -> Generate | None:  # type: ignore[override]
        """Decoded samples; with `sampling.trajectory` also decoded states."""
        generate = self.inner.generate
        if generate is None:
            return None

        def sample(variables: Variables, keys: Array, asked: Asked) -> dict[str, Array]:
            found = generate(variables, keys, asked)
            states = {}
            if "states" in found:
                num, count = found["states"].shape[:2]
                flat = found["states"].reshape(num * count, *found["states"].shape[2:])
                decoded = self.decoded(variables, flat)
                states = {"states": decoded.reshape(num, count, *decoded.shape[1:])}
            return {**found, "samples": self.decoded(variables, found["samples"]), **states}

        return sample

    def picture(self, samples: np.ndarray, columns: int | None = None) -> np.ndarray:
        """A grid of samples; of data that are codes, decoded."""
        if not self.codec.are_codes:
            return super().picture(samples, columns)
        codec = dataclasses.replace(self.codec, are_codes=False)
        latents = jnp.asarray(samples)
        weights = self._host_variables()[frozen.FROZEN][STAGE]
        x = codec.to_data(codec.tokenizer.decode(weights, latents))
        return sample_grid(np.asarray(x), codec.spec.num_levels, columns)

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """Those of the model; bits of tokens are per token, and those of latents a bound for the data."""
        own: dict[str, Evaluation] = {"loss": self.loss_task}
        if self.generate is not None:
            own["samples"] = self.samples_task
        if self.codec.tokenizer.num_codes or self.codec.are_codes:
            others = {name: self._per_token(evaluation) for name, evaluation in self.inner.evaluations.items()}
            return {**others, **own}
        if self.codec.has_likelihood and isinstance(self.inner, Diffusion):
            own["bits_per_dim"] = self.bits_per_dim_task
        return own

    def _per_token(self, evaluation: Evaluation) -> Evaluation:
        """The same evaluation, whose heading says what its dimensions are."""
        if not self.codec.tokenizer.num_codes:
            return evaluation

        def make(number: int, variables: Variables | None) -> Task:
            task = evaluation(number, variables)
            columns = (dataclasses.replace(c, heading=c.heading.replace("/dim", "/token")) for c in task.columns)
            return task._replace(columns=tuple(columns))

        return make

    @property
    def enabled(self) -> tuple[str, ...]:
        """Those of the model's that there are."""
        asked = tuple(self.config.eval.tasks)
        return asked or tuple(name for name in self.inner.enabled if name in self.evaluations)

    @property
    def requests(self) -> Mapping[str, RequestTask]:
        """The model's, without those that take examples; and its inpainting, of examples whose patches have codes."""
        own = {name: task for name, task in self.inner.requests.items() if not issubclass(task.request, Input)}
        if (
            "inpaint" in self.inner.requests
            and not self.codec.are_codes
            and has_patches(self.spec.shape, self.inner.spec.shape)
        ):
            own["inpaint"] = RequestTask(Completion, code_completion)
        return own

    @property
    def subject(self) -> tuple[str, ...]:
        """That of the model, and what its codes are."""
        return *self.inner.subject, "tokens" if self.codec.tokenizer.num_codes else "latents"

    @property
    def guide(self) -> Any:
        """That of the model."""
        return getattr(self.inner, "guide", None)

    @property
    def sampler_in_words(self) -> str:
        """That of the model."""
        return self.inner.sampler_in_words

    def open_guide(self) -> None:
        """Reads the guide of the model."""
        self.inner.open_guide()

    def labels(self, start: int, num: int) -> Asked:
        """Those of the model."""
        return self.inner.labels(start, num)

    def bits_per_dim_task(self, number: int, variables: Variables) -> Task:
        """A bound on the bits (or nats) per dimension of the data, of each example exactly once."""
        check_density(self.config)
        key, source = fold_in(self.key, RunKey.LIKELIHOOD), self.context.splits.named(self.config.eval.bpd_dataset)

        def evaluate(batch: dict[str, Any]) -> dict[str, Array]:
            keys = keys_at(fold_in(key, batch["repeat"]), batch["index"])
            return self.bits_per_dim(variables, keys, self.on_devices(batch))

        name, repeats = likelihood.quantity(source.num_levels), self.config.eval.bpd_repeats
        return per_example_task(name, *self.batches(source), evaluate, quantity=name, repeats=repeats, rank=2)

    @functools.cached_property
    def bits_per_dim(self) -> Any:
        """`(variables, keys [B], batch) -> {"bits_per_dim" [B], "latent_nats" [B], "num_evals"}`, compiled."""
        inner, num_levels = self.inner, self.spec.num_levels
        assert isinstance(inner, Diffusion)
        units = math.prod(self.spec.shape) * (math.log(2) if num_levels else 1.0)

        @jax.jit
        def measure(variables: Variables, keys: Array, batch: Batch) -> dict[str, Array]:
            z, beside = self.codec.nats_beside(variables, batch["x"], fold_in(keys, LikelihoodKey.DATA))
            predict = inner.predict_of(variables["params"], {**batch, "x": z}, None)
            found = inner.measure_bits_per_dim(predict, keys, z, None)
            nats = beside - found["logp_nats"]
            figures = {"latent_nats": -found["logp_nats"], "num_evals": found["num_evals"]}
            return {likelihood.quantity(num_levels): nats / units, **figures}

        return measure


def is_latent(config: ConfigDict, kind: type[System]) -> bool:
    """Whether a config has a model of codes: it names a tokenizer that the system itself does not know."""
    names = {entry.split("=", 1)[0] for entry in config.model.stages}
    return (STAGE in names and STAGE not in kind.stages) or config.tokenizer.external is not None

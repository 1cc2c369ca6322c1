"""Tokenizers and auto-encoders: losses of reconstructions, and how good those and the codes are."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from builders import data
from builders.features import extractor
from builders.tokenizer import feature_loss, make_tokenizer, residual_quantizer
from core.arrays import Array
from core.tables import choose
from evaluation.features.base import Extractor
from evaluation.rounds import Task
from evaluation.tasks.by_depth import Decoded, by_depth_task
from evaluation.tasks.measured import measured_task
from systems.base import Context, Evaluation, FetchBatches, System
from systems.requests.base import RequestTask
from systems.requests.reconstruct import RECONSTRUCT
from training.objectives.base import Batch, Terms, Variables

MOST_EXAMPLES = 50_000  # from which principal components are computed
DIFFERENCES: dict[str, Callable[[Array], Array]] = {"l2": jnp.square, "l1": jnp.abs}


class TokenizerSystem(System):
    """A tokenizer or auto-encoder, with the losses of its reconstruction and of its codes."""

    def __init__(self, context: Context):
        super().__init__(context)
        config, num_levels = context.config, context.spec.num_levels
        self.tokenizer = make_tokenizer(config)
        self.difference = choose("tokenizer.loss", config.tokenizer.loss, DIFFERENCES)
        self.feature_fn = feature_loss(config)
        self.to_model, self.to_data = data.to_model(config, num_levels), data.to_data(config, num_levels)
        self.residual = residual_quantizer(self.tokenizer)
        self.objective = self.terms

    def init(self, key: Array) -> Variables:
        """Encoder, decoder, and perhaps a codebook."""
        return self.tokenizer.init(key)

    def warm_start(self, variables: Variables, fetch_batches: FetchBatches) -> Variables:
        """The codebook by k-means of features, or the principal components of the training data."""
        settings, size = self.config.tokenizer, self.config.training.batch_size
        if settings.quantizer == "pca":
            train = self.context.splits.train
            rows = np.arange(min(len(train), MOST_EXAMPLES))
            batches = [self.to_model(jnp.asarray(train.fetch(part)["x"])) for part in np.array_split(rows, 50)]
        elif settings.codebook_init == "k_means":
            sites = size * int(np.prod(self.tokenizer.code_shape[:-1]))
            num = max(8, -(-settings.reservoir // sites))
            batches = [self.to_model(jnp.asarray(batch["x"])) for batch in fetch_batches(num)]
        else:
            batches = []
        return self.tokenizer.start(variables, batches, self.config.seed)

    def terms(self, variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array) -> Terms:
        """The reconstruction's error per dimension, that of its features, and the losses of the codes."""
        variables = {**variables, "params": self.devices.gather_params(variables["params"])}
        x = self.to_model(batch["x"])
        found = self.tokenizer.reconstruct(variables, x, keys, train=dropout_key is not None)
        losses = {"reconstruction": _mean(self.difference(found.x - x)), **found.losses}
        if self.feature_fn is not None:
            a, b = (self.feature_fn(self.to_unit(each))["features"] for each in (found.x, x))
            losses["features"] = jnp.mean((a - b) ** 2, axis=1)
        return Terms(losses, found.metrics, found.collections or None)

    def to_unit(self, x: Array) -> Array:
        """Values as the network sees them, as levels over the largest level, in [0, 1]; of floats those of the data."""
        num_levels, config = self.spec.num_levels, self.config.data
        if not num_levels:
            return self.to_data(x)
        unit = 0.5 * (x + 1) if config.centered else x
        return (unit * num_levels - 0.5) / (num_levels - 1) if config.uniform_dequantization else unit

    def encode(self, variables: Variables, values: Array) -> Array:
        """Values of the data as the network sees them; for the codes see `tokenizer`."""
        return self.to_model(values)

    def decode(self, variables: Variables, x: Array) -> Array:
        """The inverse of `encode`."""
        return self.to_data(x)

    @functools.cached_property
    def codes(self) -> Callable[[Variables, Array], Array]:
        """`(variables, values of the data [B, ...]) -> codes [B, *code_shape]`, compiled."""
        return jax.jit(lambda variables, values: self.tokenizer.encode(variables, self.to_model(values)))

    @functools.cached_property
    def reconstructed(self) -> Callable[[Variables, Array], Array]:
        """`(variables, values of the data [B, ...]) -> reconstructions as the network sees them`, compiled."""

        def reconstruct(variables: Variables, values: Array) -> Array:
            return self.tokenizer.decode(variables, self.tokenizer.encode(variables, self.to_model(values)))

        return jax.jit(reconstruct)

    @property
    def subject(self) -> tuple[str, ...]:
        """Data and what a code is."""
        return self.config.data.dataset, self.config.tokenizer.quantizer

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """Losses; reconstructions beside the truth; their features; and of tokens how they use the codebook.

        Of residual tokens also reconstructions from the first levels.
        """
        codes: dict[str, Evaluation] = {"codes": self.codes_task} if self.tokenizer.num_codes else {}
        if self.residual is not None:
            codes["tokens"] = self.by_depth_task
        return {"loss": self.loss_task, "reconstruction": self.reconstruction_task, **codes, "rfid": self.rfid_task}

    @property
    def requests(self) -> Mapping[str, RequestTask]:
        """Reconstructions of given examples."""
        return {"reconstruct": RECONSTRUCT}

    def reconstruction_task(self, number: int, variables: Variables | None) -> Task:
        """PSNR and SSIM of the reconstructions of the test examples."""
        test, span = self.context.splits.test, self._span()

        def predict(batch: dict[str, Any]) -> dict[str, Any]:
            assert variables is not None
            x = self.on_devices(batch)["x"]
            truth = self.to_unit(self.to_model(x))
            return {"prediction": self.to_unit(self.reconstructed(variables, x)), "truth": truth}

        metrics = ("psnr", "ssim") if len(self.spec.shape) > 1 else ("psnr",)
        return measured_task("reconstruction", *self.batches(test), predict, metrics, value_range=span)

    def by_depth_task(self, number: int, variables: Variables | None) -> Task:
        """PSNR of the test examples from their first levels of tokens, and how many tokens come back."""
        residual = self.residual
        assert residual is not None

        @jax.jit
        def decode(variables: Variables, values: Array) -> tuple[Array, Array, Array]:
            x = self.to_model(values)
            tokens = self.tokenizer.encode(variables, x)
            found = [self.tokenizer.decode(variables, tokens[..., :n]) for n in range(1, residual.depth + 1)]
            again = residual.to_codes(variables, residual.to_latents(variables, tokens))
            same = jnp.all(again == tokens, axis=-1).reshape(len(tokens), -1)
            return self.to_unit(x), jnp.stack([self.to_unit(each) for each in found], axis=1), same

        def decoded(batch: dict[str, Any]) -> Decoded:
            assert variables is not None
            return Decoded(*jax.device_get(decode(variables, self.on_devices(batch)["x"])))

        test = self.batches(self.context.splits.test)
        return by_depth_task(*test, decoded, residual.depth, value_range=self._span())

    def _span(self) -> float | None:
        """The range of data without levels."""
        test = self.context.splits.test
        return None if self.spec.num_levels else float(np.ptp(test.fetch(np.arange(min(len(test), 1000)))["x"]))

    def codes_task(self, number: int, variables: Variables | None) -> Task:
        """The share of the codebook that occurs in the tokens of `eval.reference_dataset`, and their perplexity."""
        source = self.context.splits.named(self.config.eval.reference_dataset)

        def predict(batch: dict[str, Any]) -> dict[str, Any]:
            assert variables is not None
            return {"tokens": self.codes(variables, self.on_devices(batch)["x"])}

        metrics = ("usage", "perplexity")
        return measured_task("codes", *self.batches(source), predict, metrics, num_codes=self.tokenizer.num_codes)

    @functools.cached_property
    def extractor(self) -> Extractor:
        """The features that `eval.features` names. Errors: ValueError for missing files or runs."""
        return extractor(self.config, self.spec.num_levels, self.context.load_network)

    def rfid_task(self, number: int, variables: Variables | None) -> Task:
        """The Frechet distance between the features of reconstructed and of true test examples."""
        features = self.extractor

        def predict(batch: dict[str, Any]) -> dict[str, Any]:
            assert variables is not None
            found = self.to_data(self.reconstructed(variables, self.on_devices(batch)["x"]))
            real, fake = (features(np.asarray(each))["features"] for each in (batch["x"], found))
            return {"features": fake, "real_features": real}

        task = measured_task("rfid", *self.batches(self.context.splits.test), predict, ("fid",))
        return task._replace(columns=tuple(dataclasses.replace(c, heading="rFID") for c in task.columns))


def _mean(values: Array) -> Array:
    """The mean [B] of values [B, ...] over all but the first axis."""
    return jnp.mean(values.reshape(len(values), -1), axis=1)

"""Texts and images token by token: each is predicted from all that come before it in a sequence of both."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from builders.autoregressive import NO_TEXT, TextThenImage, make_model
from builders.guidance import Asked, Guide
from core.arrays import Array
from core.keys import ExampleKey, SequenceKey, fold_in
from core.tables import choose
from core.target import float32_products
from data.vocabulary import TEXT
from evaluation.rounds import Task
from evaluation.tasks.routing import routing_task
from models.blocks.moe import balance, evenness, shares
from models.networks.masked_ar import Sequence
from sampling.raster import NextToken, Raster
from systems.base import Context, Evaluation
from systems.evaluations.reconstruction import first_of
from systems.evaluations.texts import text_to_image, understanding
from systems.texts import TextsAndImages
from training.objectives.base import Batch, Params, Terms, Variables
from training.objectives.masked_ar import given, kinds, mean_over, text_nats


class AutoregressiveSystem(TextsAndImages):
    """A causal transformer on the words of a text and the levels or tokens of an image, one of them first.

    Its likelihood is exact. Without texts it is a model of images alone.
    """

    model: TextThenImage
    sampler: Raster

    def __init__(self, context: Context):
        super().__init__(context)
        config, spec = context.config, context.spec
        self.model = make_model(config, spec)
        self.has_texts = self.model.text is not NO_TEXT
        choose("sampling.guidance", config.sampling.guidance, dict.fromkeys(("none",)))
        self.to_model, self.to_data = (lambda x: jnp.asarray(x)), (lambda x: x.astype(spec.dtype))
        sampling = config.sampling
        self.sampler = Raster(
            self.model.num_image_tokens,
            lambda tokens: tokens.reshape(len(tokens), *spec.shape),
            sampling.temperature,
            sampling.top_p,
        )
        self.objective = self.terms

    def init(self, key: Array) -> Variables:
        """The parameters of the network."""
        return {"params": self.model.init(key)}

    def image(self, values: Array) -> Array:
        """The values are the tokens."""
        return self.to_model(values)

    def terms(self, variables: Variables, keys: Array, batch: Batch, dropout_key: Array | None, step: Array) -> Terms:
        """The cross-entropies of the words and of the image, each per token, and the balance of experts.

        An example has its image first with the probability `autoregressive.image_first`, otherwise its text.
        """
        params, image = self.devices.gather_params(variables["params"]), self.image(batch["x"])
        text, first = self._text(batch), self.config.autoregressive.image_first if self.has_texts else 1.0
        own = fold_in(keys, ExampleKey.SEQUENCE)
        kind = kinds(fold_in(own, SequenceKey.KIND), (first, 1 - first))
        logits, layers = self.model.logits(params, text, image, kind, dropout_key)
        losses = {"image": _image_nats(logits.image, image) / self.model.num_image_tokens}
        if self.has_texts:
            losses["text"] = mean_over(text_nats(logits.text, text), given(text))
        metrics = {}
        if layers:
            losses["balance"] = balance(layers)
            metrics["routing_entropy"] = jnp.stack([evenness(shares(layer.chosen)) for layer in layers]).mean()
        return Terms(losses, metrics)

    def _text(self, batch: Batch) -> Array:
        """The texts [B, T] of a batch; without texts [B, 0]."""
        return jnp.asarray(batch[TEXT]) if self.has_texts else jnp.zeros((len(batch["x"]), 0), jnp.int32)

    def make_guide(self) -> Guide:
        """Texts reach the model as the field "text" of what is asked for."""
        model = make_model(self.config, self.spec, self.config.sampling.dtype)

        def predict_of(params: Params, other: Params, asked: Asked) -> NextToken:
            return model.next_token(params, asked.get(TEXT) if isinstance(asked, Mapping) else None)

        return Guide(predict_of, None, 0)

    def trains(self, kind: Sequence) -> bool:
        """Whether training sees this kind of sequence; an image alone is one whose text is not looked at."""
        first = self.config.autoregressive.image_first if self.has_texts else 1.0
        if kind == Sequence.TEXT_IMAGE:
            return first < 1
        return first > 0 and (self.has_texts or kind == Sequence.IMAGE)

    @functools.cached_property
    def bits_per_dim(self) -> Callable[[Params, Array, Batch], dict[str, Array]]:
        """`(params, keys [B], batch) -> {"bits_per_dim" [B]}` of the image given its text, compiled: the exact value.

        -log2 p(image | text) / D = -sum_i log2 p(token_i | text, the tokens before it) / D

        Without texts in training before their images, that of the image.
        """
        model, unit = make_model(self.config, self.spec, self.config.eval.bpd_dtype), math.log(2)

        def measure(params: Params, keys: Array, batch: Batch) -> dict[str, Array]:
            image, text = self.image(batch["x"]), self._text(batch) if self.trains(Sequence.TEXT_IMAGE) else None
            with float32_products("highest"):
                nats = _image_nats(model.image_logits(params, text, image), image)
            return {"bits_per_dim": nats / model.num_image_tokens / unit}

        return jax.jit(measure)

    def routing(self, number: int, variables: Variables | None) -> Task:
        """How experts are used by words and by the image, in sequences of each kind."""
        test, T = first_of(self.context.splits.test, self.config.eval.num_examples), self.model.text.shape[0]

        @jax.jit
        def counts(params: Params, batch: Batch) -> dict[str, Array]:
            image, text, found = self.image(batch["x"]), self._text(batch), []
            for kind in (Sequence.IMAGE_TEXT, Sequence.TEXT_IMAGE):
                _, layers = self.model.logits(params, text, image, jnp.full(len(image), kind))
                found.append(jnp.stack([layer.chosen for layer in layers], axis=1))
            chosen = sum(found[1:], start=found[0])  # [B, layers, S, E]
            return {"text": chosen[:, :, :T].sum(axis=2), "image": chosen[:, :, T:].sum(axis=2)}

        def count(batch: dict[str, Any]) -> Mapping[str, Any]:
            assert variables is not None
            return jax.device_get(counts(variables["params"], self.on_devices(batch)))

        return routing_task(*self.batches(test), count)

    @property
    def subject(self) -> tuple[str, ...]:
        """Data, network, and the experts."""
        num = self.config.autoregressive.num_experts
        return (self.config.data.dataset, self.config.model.name, *((f"{num} experts",) if num > 1 else ()))

    @property
    def sampler_in_words(self) -> str:
        """The number of calls."""
        return f"{self.model.num_image_tokens} steps"

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """Losses, likelihood, samples, experts, and of what is trained texts given images and images given texts.

        The last where a classifier can judge them.
        """
        found: dict[str, Evaluation] = {
            "loss": self.loss_task,
            "bits_per_dim": self.bits_per_dim_task,
            "samples": self.samples_task,
        }
        if self.config.autoregressive.num_experts > 1:
            found["routing"] = self.routing
        if self.trains(Sequence.IMAGE_TEXT):
            found["understanding"] = functools.partial(understanding, self)
        if self.trains(Sequence.TEXT_IMAGE) and self.has_classifiers:
            found["text_to_image"] = functools.partial(text_to_image, self)
        return found


def _image_nats(logits: Array, image: Array) -> Array:
    """-ln p [B] of images [B, ...] from the logits [B, L, K] of their tokens."""
    token = image.reshape(*logits.shape[:2], 1).astype(jnp.int32)
    return -jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(logits), token, axis=-1), axis=(1, 2))

"""What models of texts and images share: texts of an image and their probabilities, labels, requests, judges."""

import abc
import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from builders import likelihood
from builders.guidance import Asked
from core.arrays import Array
from core.keys import RunKey, fold_in, keys_at
from data.fields import Field
from data.vocabulary import TEXT, Vocabulary
from evaluation.rounds import Task
from evaluation.tasks.per_example import per_example_task
from models.networks.masked_ar import Sequence
from sampling.texts import Texts, sample_texts
from systems.generative import Generative
from systems.requests.base import RequestTask
from systems.requests.generate import UNCONDITIONAL
from systems.requests.texts import ImageToText, TextToImage, image_to_text, text_to_image
from training.objectives.base import Batch, Params, Variables
from training.objectives.masked_ar import text_nats


class TextModel(Protocol):
    """A model of the text of an image. `text_logits`: [B, T, V] of each token of texts [B, T] given those before it."""

    @property
    def text(self) -> Field:
        """The field of texts."""
        ...

    def text_logits(self, params: Params, text: Array, image: Array) -> Array:
        """Of texts, given images as the model sees them."""
        ...


class TextsAndImages(Generative):
    """A system with a model of both; a subclass sets `model`."""

    model: TextModel

    @abc.abstractmethod
    def image(self, values: Array) -> Array:
        """Values of the data [B, ...] as images that the model reads, without noise."""

    @property
    @abc.abstractmethod
    def bits_per_dim(self) -> Callable[[Params, Array, Batch], dict[str, Array]]:
        """`(params, keys [B], batch) -> {"bits_per_dim" [B]}` of the image given its text; or nats_per_dim."""

    @abc.abstractmethod
    def trains(self, kind: Sequence) -> bool:
        """Whether training sees this kind of sequence."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The words."""
        return Vocabulary.of(self.model.text)

    def labels(self, start: int, num: int) -> Asked:
        """The texts of the training examples in turn; None where images have not been trained with texts."""
        if not self.trains(Sequence.TEXT_IMAGE):
            return None
        train = self.context.splits.train
        return {TEXT: jnp.asarray(train.fetch(np.arange(start, start + num) % len(train))[TEXT])}

    @functools.cached_property
    def text_logp(self) -> Callable[[Params, Array, Array], Array]:
        """`(params, values of the data [B, ...], texts [N, T]) -> ln p(text | image) [B, N]` in nats, compiled."""

        def measure(params: Params, values: Array, texts: Array) -> Array:
            image = self.image(values)

            def of(text: Array) -> Array:
                several = jnp.broadcast_to(text[None], (len(image), *text.shape))
                return -jnp.sum(text_nats(self.model.text_logits(params, several, image), several), axis=1)

            return jax.lax.map(of, texts).T

        return jax.jit(measure)

    @functools.cached_property
    def read(self) -> Callable[[Params, Array, Array, float], Texts]:
        """`(params, keys [B], values of the data [B, ...], temperature) -> Texts`: sampled texts, compiled."""

        def sample(params: Params, keys: Array, values: Array, temperature: float) -> Texts:
            logits_of = functools.partial(self.model.text_logits, params, image=self.image(values))
            return sample_texts(keys, logits_of, self.model.text.shape[0], temperature=temperature)

        return jax.jit(sample, static_argnums=3)

    def bits_per_dim_task(self, number: int, variables: Variables) -> Task:
        """Bits (or nats) per dimension of each image given its text, exactly once (times `eval.bpd_repeats`)."""
        key, source = fold_in(self.key, RunKey.LIKELIHOOD), self.context.splits.named(self.config.eval.bpd_dataset)

        def evaluate(batch: dict[str, Any]) -> dict[str, Array]:
            keys = keys_at(fold_in(key, batch["repeat"]), batch["index"])
            return self.bits_per_dim(variables["params"], keys, self.on_devices(batch))

        quantity, repeats = likelihood.quantity(source.num_levels), self.config.eval.bpd_repeats
        task = per_example_task(quantity, *self.batches(source), evaluate, quantity=quantity, repeats=repeats, rank=2)
        return task._replace(name="bits_per_dim")

    @property
    def has_classifiers(self) -> bool:
        """Whether classifiers of the data can judge images: there are classes, and x has pixels, not codes."""
        return self.spec.num_classes > 1 and self.config.model.num_categories is None

    @property
    def requests(self) -> Mapping[str, RequestTask]:
        """Images, also of a text, and texts of images: what training has seen."""
        found = {
            Sequence.IMAGE: ("unconditional", UNCONDITIONAL),
            Sequence.TEXT_IMAGE: ("text_to_image", RequestTask(TextToImage, text_to_image)),
            Sequence.IMAGE_TEXT: ("image_to_text", RequestTask(ImageToText, image_to_text)),
        }
        return dict(task for kind, task in found.items() if self.trains(kind))

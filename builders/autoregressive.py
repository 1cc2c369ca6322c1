"""Models of texts and images token by token, from a config: the network, its logits, and its cache."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from builders.architectures import check_heads, make_remat
from builders.network import DTYPES, products
from builders.objective import check_plain
from core.arrays import Array
from core.tables import choose
from data.fields import Field
from data.spec import DataSpec
from data.vocabulary import TEXT, text_field
from models.blocks.activations import ACTIVATIONS
from models.blocks.moe import COLLECTION, MixtureOfExperts, Routing, routings
from models.blocks.transformer import Experts
from models.networks.autoregressive import Autoregressive, Logits, sites_of
from models.networks.masked_ar import Sequence
from models.precision import converted
from sampling.raster import NextToken
from training.objectives.base import Params

NETWORKS = {"autoregressive": Autoregressive}
NO_TEXT = Field((0,), "int32", num_levels=0)


@dataclasses.dataclass(frozen=True)
class TextThenImage:
    """A network on sequences of a text and an image of `shape`, in either order; without texts `text` is `NO_TEXT`."""

    network: Autoregressive
    text: Field
    shape: tuple[int, ...]

    @property
    def num_image_tokens(self) -> int:
        """L."""
        return math.prod(self.shape)

    def init(self, key: Array) -> Params:
        """The parameters at step 0."""
        one = jnp.zeros((1, 1), jnp.int32)
        return self.network.init(key, one, one, jnp.zeros(1, jnp.int32))["params"]

    def logits(
        self, params: Params, text: Array, image: Array, kind: Array, dropout_key: Array | None = None
    ) -> tuple[Logits, list[Routing]]:
        """Logits of each token of texts [B, T] and images [B, ...] given those before it in the kind of sequence.

        `Logits` of the text [B, T, V] and the image [B, L, K], and how experts were used in each layer, if there are.
        """
        V, T, L = self.network.num_words, self.network.text_length, self.num_image_tokens
        tokens = jnp.concatenate([text.astype(jnp.int32), V + image.reshape(len(image), L).astype(jnp.int32)], axis=1)
        sites = sites_of(kind, T, L)
        ordered = jnp.take_along_axis(tokens, sites, axis=1)
        begin = jnp.full((len(tokens), 1), V + self.network.num_codes)
        before = jnp.concatenate([begin, ordered[:, :-1]], axis=1)
        options: dict[str, Any] = {"train": dropout_key is not None}
        options["rngs"] = {} if dropout_key is None else {"dropout": dropout_key}
        found, sown = self._apply(params, before, sites, kind, mutable=[COLLECTION], **options)
        place = jnp.argsort(sites, axis=1)  # of each site in its sequence
        back = jax.tree.map(lambda a: jnp.take_along_axis(a, place.reshape(*place.shape, 1), axis=1), found)
        layers = routings(jax.tree.map(lambda a: jnp.take_along_axis(a, place[..., None], axis=1), sown))
        return Logits(back.text[:, :T], back.image[:, T:]), layers

    def text_logits(self, params: Params, text: Array, image: Array) -> Array:
        """Logits [B, T, V] of each token of texts [B, T] given those before it and a whole image."""
        return self.logits(params, text, image, jnp.full(len(image), Sequence.IMAGE_TEXT))[0].text

    def image_logits(self, params: Params, text: Array | None, image: Array) -> Array:
        """Logits [B, L, K] of each token of an image given those before it and a text; None: without one."""
        kind = jnp.full(len(image), Sequence.IMAGE_TEXT if text is None else Sequence.TEXT_IMAGE)
        text = jnp.zeros((len(image), *self.text.shape), jnp.int32) if text is None else text
        return self.logits(params, text, image, kind)[0].image

    def next_token(self, params: Params, text: Array | None) -> NextToken:
        """What the tokens of images are sampled from, given texts [B, T]; None: without."""
        V, T = self.network.num_words, self.network.text_length
        kind = Sequence.IMAGE_TEXT if text is None else Sequence.TEXT_IMAGE
        given = 0 if text is None else T  # tokens before the image

        def call(before: Array, first: Any, cache: Any) -> tuple[Array, Any]:
            B, n = before.shape
            number = first + jnp.arange(n)
            # The place of each in the sequence is its site, but for images that come first.
            sites = jnp.broadcast_to((number + (T - given))[None], (B, n))
            kinds = jnp.full(B, kind)
            found, changed = self._apply(
                params, before, sites, kinds, at=first, mutable=["cache"], collections={"cache": cache} if cache else {}
            )
            return found.image[:, -1], changed["cache"]

        def begin(B: int) -> tuple[Array, Any]:
            before = jnp.full((B, 1), V + self.network.num_codes)
            words = [] if text is None else [jnp.asarray(text).astype(jnp.int32)]
            return call(jnp.concatenate([before, *words], axis=1), 0, None)

        return NextToken(begin, lambda token, i, cache: call(V + token[:, None], given + 1 + i, cache))

    def _apply(self, params: Params, *args: Array, collections: Any = None, **options: Any) -> tuple[Logits, Any]:
        own = converted(params, self.network.dtype)
        with products(self.network):
            found: Any = self.network.apply({"params": own, **(collections or {})}, *args, **options)
        return found


def make_model(config: ConfigDict, spec: DataSpec, dtype: str | None = None) -> TextThenImage:
    """The model that a config describes; `dtype`: of its activations, by default `model.dtype`.

    Errors: ValueError, one sentence, for data that are no categories, and for settings that do not fit.
    """
    model = config.model
    make = choose("model.name", model.name, NETWORKS)
    choose("model.nonlinearity", model.nonlinearity, ACTIVATIONS)
    check_heads(config)
    _check_data(config, spec)
    check_plain(config)
    text = text_field(spec.fields, config.data.dataset) if TEXT in spec.fields else NO_TEXT
    network = make(
        num_words=text.num_levels,
        num_codes=spec.num_levels,
        text_length=text.shape[0],
        num_image_tokens=math.prod(spec.shape),
        nf=model.nf,
        num_blocks=model.num_res_blocks,
        num_heads=model.num_heads,
        dropout=model.dropout,
        nonlinearity=model.nonlinearity,
        experts=make_experts(config),
        remat=make_remat(config),
        dtype=choose("model.dtype", dtype or model.dtype, DTYPES),
    )
    return TextThenImage(network, text, tuple(spec.shape))


def make_experts(config: ConfigDict) -> Experts | None:
    """What takes the place of perceptrons; None: nothing."""
    settings = config.autoregressive
    if settings.num_experts == 1:
        return None
    return functools.partial(MixtureOfExperts, settings.num_experts, settings.experts_per_token)


def _check_data(config: ConfigDict, spec: DataSpec) -> None:
    """Errors: ValueError for data that are no categories, and for what a sequence is not conditioned on."""
    if not spec.num_levels or config.data.uniform_dequantization or config.data.augment:
        raise ValueError(
            f"config.system = 'autoregressive' models levels or tokens, but {config.data.dataset} has {spec.dtype} "
            f"values with {spec.num_levels} levels, config.data.uniform_dequantization = "
            f"{config.data.uniform_dequantization} and augment = {config.data.augment}; use data with levels, False "
            "and 0.0."
        )
    if config.model.conditions or config.model.num_labels:
        raise ValueError(
            "config.system = 'autoregressive' conditions images on texts alone; leave config.model.conditions empty "
            "and config.model.num_labels at 0."
        )

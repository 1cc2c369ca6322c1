"""Sequences of a text and image tokens, from a config: tokens of images, the backbone, and the head of a token."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from builders.architectures import check_heads, make_remat
from builders.guidance import interval_of
from builders.network import DTYPES, products
from builders.objective import check_plain
from builders.token_heads import CategoricalTokens, DiffusionTokens, TokenHead
from core.arrays import Array
from core.tables import choose
from data.fields import Field
from data.spec import DataSpec
from data.vocabulary import text_field
from models.blocks.activations import ACTIVATIONS
from models.networks.dit import patchify, unpatchify
from models.networks.masked_ar import MaskedAR, Sequence, States
from models.precision import converted
from sampling.mask_rounds import TokenModel
from training.objectives.base import Params

BACKBONES = {"masked_ar": MaskedAR}


@dataclasses.dataclass(frozen=True)
class ImageTokens:
    """Images as tokens: patches of `size` in a grid, [L, d] numbers, or each site as a token of `num_codes`, [L]."""

    shape: tuple[int, ...]
    size: int
    num_codes: int = 0

    @property
    def dim(self) -> int:
        """Numbers of a token; 0 for categories."""
        return 0 if self.num_codes else self.size ** (len(self.shape) - 1) * self.shape[-1]

    @property
    def num_tokens(self) -> int:
        """L."""
        return math.prod(self.shape) // (self.dim or 1)

    @property
    def blank(self) -> jax.ShapeDtypeStruct:
        """The shape and type of the tokens of an example."""
        if self.num_codes:
            return jax.ShapeDtypeStruct((self.num_tokens,), jnp.int32)
        return jax.ShapeDtypeStruct((self.num_tokens, self.dim), jnp.float32)

    def encode(self, x: Array) -> Array:
        """Tokens [B, L, d] or [B, L] of examples as the model sees them."""
        return x.reshape(len(x), -1).astype(jnp.int32) if self.num_codes else patchify(x, self.size)

    def decode(self, tokens: Array) -> Array:
        """The examples of tokens: the inverse of `encode`."""
        return tokens.reshape(len(tokens), *self.shape) if self.num_codes else unpatchify(tokens, self.size, self.shape)


@dataclasses.dataclass(frozen=True)
class TextAndImage:
    """The model: `params` are "network", the backbone, and "head"."""

    network: MaskedAR
    head: TokenHead
    tokens: ImageTokens
    text: Field

    def init(self, key: Array) -> Params:
        """The parameters at step 0."""
        text, image = jnp.zeros((1, *self.text.shape), jnp.int32), jnp.zeros((1, *self.tokens.blank.shape))
        image, masked = image.astype(self.tokens.blank.dtype), jnp.zeros((1, self.tokens.num_tokens), bool)
        kind = jnp.zeros(1, jnp.int32)
        network = self.network.init(jax.random.fold_in(key, 1), text, image, masked, kind)["params"]
        return {"network": network, "head": self.head.init(jax.random.fold_in(key, 2), 4 * self.network.nf)}

    def states(
        self, params: Params, text: Array, image: Array, masked: Array, kind: Array, dropout_key: Array | None = None
    ) -> States:
        """Logits of the text and states of the image tokens; see `models.networks.masked_ar`."""
        own = converted(params["network"], self.network.dtype)
        rngs = {} if dropout_key is None else {"dropout": dropout_key}
        with products(self.network):
            found: Any = self.network.apply(
                {"params": own}, text, image, masked, kind, train=dropout_key is not None, rngs=rngs
            )
        return found

    def text_logits(self, params: Params, text: Array, image: Array) -> Array:
        """Logits [B, T, V] of each token of texts [B, T] given those before it and a whole image."""
        masked, kind = jnp.zeros(image.shape[:2], bool), jnp.full(len(image), Sequence.IMAGE_TEXT)
        return self.states(params, text, image, masked, kind).logits

    def image_states(self, params: Params, text: Array | None, image: Array, masked: Array) -> Array:
        """States [B, L, D] of image tokens given those that are not masked and a text; None: without one."""
        kind = jnp.full(len(image), Sequence.IMAGE if text is None else Sequence.TEXT_IMAGE)
        text = jnp.zeros((len(image), *self.text.shape), jnp.int32) if text is None else text
        return self.states(params, text, image, masked, kind).image

    def token_model(self, params: Params, text: Array | None, scale: float = 1.0) -> TokenModel:
        """What image tokens are sampled from, given texts [B, T]; with a scale other than 1 with guidance."""
        texts = (text,) if text is None or scale == 1 else (text, None)
        return TokenModel(
            lambda tokens, masked: tuple(self.image_states(params, of, tokens, masked) for of in texts),
            lambda keys, state: self.head.sample(params["head"], keys, state, scale),
        )


def make_model(config: ConfigDict, spec: DataSpec, dtype: str | None = None) -> TextAndImage:
    """The model that a config describes; `dtype`: of its activations, by default `model.dtype`.

    Errors: ValueError, one sentence, for data without texts, and for settings that do not fit them.
    """
    model = config.model
    make = choose("model.name", model.name, BACKBONES)
    choose("model.nonlinearity", model.nonlinearity, ACTIVATIONS)
    check_heads(config)
    _check_conditions(config)
    check_plain(config)
    text = text_field(spec.fields, config.data.dataset)
    tokens = make_tokens(config, spec)
    network = make(
        num_tokens=text.num_levels,
        text_length=text.shape[0],
        num_image_tokens=tokens.num_tokens,
        dim=tokens.dim,
        num_codes=tokens.num_codes,
        nf=model.nf,
        num_blocks=model.num_res_blocks,
        num_heads=model.num_heads,
        dropout=model.dropout,
        nonlinearity=model.nonlinearity,
        remat=make_remat(config),
        dtype=choose("model.dtype", dtype or model.dtype, DTYPES),
    )
    head: TokenHead = DiffusionTokens(config, tokens.dim, dtype)
    if tokens.num_codes:
        head = CategoricalTokens(config, tokens.num_codes)
    return TextAndImage(network, head, tokens, text)


def make_tokens(config: ConfigDict, spec: DataSpec) -> ImageTokens:
    """The tokens of images. Errors: ValueError for patches that do not fit, and for a head of other tokens."""
    shape, size = tuple(spec.shape), config.model.patch_size
    if config.mmar.head == "categories":
        if not spec.num_levels or config.data.uniform_dequantization:
            raise ValueError(
                f"config.mmar.head = 'categories' needs tokens or levels, but {config.data.dataset} has {spec.dtype} "
                f"values with config.data.uniform_dequantization = {config.data.uniform_dequantization}; use "
                "'diffusion', or False."
            )
        return ImageTokens(shape, 1, spec.num_levels)
    if config.model.num_categories is not None:
        raise ValueError(
            f"config.mmar.head = 'diffusion' is for numbers, but the image has tokens of {config.model.num_categories} "
            "categories; use 'categories'."
        )
    if any(side % size for side in shape[:-1]):
        raise ValueError(
            f"config.model.patch_size = {size} does not divide the sides of examples of the shape {shape}; use a "
            "common divisor of them."
        )
    return ImageTokens(shape, size)


def _check_conditions(config: ConfigDict) -> None:
    """Errors: ValueError for what images are conditioned on beside the text."""
    if config.model.conditions or config.model.num_labels:
        raise ValueError(
            f"config.system = {config.system!r} conditions images on texts alone; leave config.model.conditions empty "
            "and config.model.num_labels at 0."
        )


def guidance_scale(config: ConfigDict) -> float:
    """The strength of guidance by dropping the text; 1 without. Errors: ValueError for another guidance."""
    sampling = config.sampling
    choose("sampling.guidance", sampling.guidance, dict.fromkeys(("none", "classifier_free")))
    if sampling.guidance == "none":
        return 1.0
    if not config.mmar.shares[Sequence.IMAGE]:
        raise ValueError(
            "config.sampling.guidance = 'classifier_free' needs a model of images without texts, but the last of "
            f"config.mmar.shares = {tuple(config.mmar.shares)} is 0; use 'none', or train one with a share above 0."
        )
    if config.mmar.head == "categories" and interval_of(config) is not None:
        raise ValueError(
            f"config.sampling.guidance_min_sigma = {sampling.guidance_min_sigma} and guidance_max_sigma = "
            f"{sampling.guidance_max_sigma} limit guidance to noise levels, which config.mmar.head = 'categories' does "
            "not have; leave them at 0.0 and unset."
        )
    return sampling.guidance_scale

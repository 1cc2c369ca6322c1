"""A transformer on a text and the tokens of an image: the text is causal, the image is masked and bidirectional."""

import enum
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks.activations import ACTIVATIONS
from models.blocks.convolution import dense
from models.blocks.remat import Remat, block
from models.blocks.transformer import Block, modulated


class Sequence(enum.IntEnum):
    """What a sequence consists of, in the order in which its parts know of each other."""

    IMAGE_TEXT = 0
    TEXT_IMAGE = 1
    IMAGE = 2


class States(NamedTuple):
    """Logits [B, T, V] of each token of the text given those before it, and states [B, L, D] of the image's tokens."""

    logits: Array
    image: Array


class MaskedAR(nn.Module):
    """States of image tokens and logits of text tokens, each given what it may know in its kind of sequence.

    text: integers [B, T] below num_tokens. image: tokens [B, L, dim] of numbers, or with num_codes integers [B, L]
    below it. masked [B, L], bool: the content of these tokens is replaced by a learned vector. kind [B]: a `Sequence`
    of each example. Returns `States`, float32; needs a `dropout` key if `train` and `dropout` > 0.

        tokens = [begin, text_1 ... text_T | image_1 ... image_L],   tokens <- block(tokens), modulated by their kind

    A token of the text attends to those before it and, in IMAGE_TEXT, to the image; a token of the image to all of the
    image and, in TEXT_IMAGE, to the text; see `attention_mask`. The state of an image token is what a head samples its
    content from. nf: a quarter of the width.
    Errors: ValueError for an unknown choice or another shape.
    Source: Yang et al., "MMAR: Towards Lossless Multi-Modal Auto-Regressive Probabilistic Modeling", CVPR 2025; masked
    image tokens: Li et al., "Autoregressive Image Generation without Vector Quantization", NeurIPS 2024.
    Notes: the paper adapts a language model; here all is trained from scratch, and the kind of a sequence modulates the
    norms. All kinds have one layout, because attention and learned positions, not places, make the order.
    """

    num_tokens: int
    text_length: int
    num_image_tokens: int
    dim: int = 0
    num_codes: int = 0
    nf: int = 24
    num_blocks: int = 4
    num_heads: int = 4
    dropout: float = 0.0
    nonlinearity: str = "swish"
    remat: Remat = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, text: Array, image: Array, masked: Array, kind: Array, *, train: bool = False) -> States:
        interface.check_choice("nonlinearity", self.nonlinearity, tuple(ACTIVATIONS))
        T, L, width = self.text_length, self.num_image_tokens, 4 * self.nf
        shape = (L,) if self.num_codes else (L, self.dim)
        if text.shape[1:] != (T,) or image.shape[1:] != shape:
            raise ValueError(
                f"Texts of shape {text.shape} and image tokens of shape {image.shape}: expected [B, {T}] and "
                f"[B, {', '.join(map(str, shape))}]."
            )
        words = nn.Embed(self.num_tokens + 1, width, dtype=self.dtype, name="words")
        begin = jnp.full((len(text), 1), self.num_tokens)
        h_text = words(jnp.concatenate([begin, text.astype(jnp.int32)], axis=1))
        if self.num_codes:
            h_image = nn.Embed(self.num_codes, width, dtype=self.dtype, name="codes")(image)
        else:
            h_image = dense(width, dtype=self.dtype)(image.astype(self.dtype))
        unknown = self.param("mask", nn.initializers.normal(0.02), (width,))
        h_image = jnp.where(masked[..., None], unknown[None, None].astype(self.dtype), h_image)
        positions = self.param("positions", nn.initializers.normal(0.02), (T + 1 + L, width))
        h = jnp.concatenate([h_text, h_image], axis=1) + positions[None].astype(self.dtype)
        act = ACTIVATIONS[self.nonlinearity]
        modulation = act(nn.Embed(len(Sequence), width, dtype=self.dtype, name="kind")(kind))
        mask = attention_mask(kind, T + 1, L)
        for k in range(self.num_blocks):
            layer = block(Block, self.remat, static=(2, 4))
            options = {"rotated": False, "name": f"block_{k}"}
            h = layer(self.num_heads, self.dropout, act, self.dtype, **options)(
                h, (T + 1 + L,), modulation, train, mask
            )
        (h,) = modulated(h, modulation, 2, self.dtype, "modulation")
        logits = dense(self.num_tokens, init_scale=0.0, dtype=self.dtype)(h[:, :T])
        return States(logits.astype(jnp.float32), h[:, T + 1 :].astype(jnp.float32))


def attention_mask(kind: Array, num_text: int, num_image: int) -> Array:
    """Which tokens [text | image] attend to which, bool [B, S, S] with S = num_text + num_image; kind [B].

    text to text: those up to itself.   image to image: all.
    text to image: in IMAGE_TEXT.       image to text: in TEXT_IMAGE.
    """
    place = jnp.arange(num_text + num_image)
    is_text = place < num_text
    query, key = is_text[:, None], is_text[None, :]
    within = (query & key & (place[:, None] >= place[None, :])) | (~query & ~key)
    given = kind[:, None, None]
    text_knows_image = (given == Sequence.IMAGE_TEXT) & (query & ~key)[None]
    image_knows_text = (given == Sequence.TEXT_IMAGE) & (~query & key)[None]
    return within[None] | text_knows_image | image_knows_text

"""A causal transformer on the tokens of a text and of an image, one after the other, in either order."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks.activations import ACTIVATIONS
from models.blocks.convolution import dense
from models.blocks.remat import Remat, block
from models.blocks.transformer import Block, Experts, modulated
from models.networks.masked_ar import Sequence


class Logits(NamedTuple):
    """Of the token that follows, as a word [B, n, V] and as a code of the image [B, n, K]; one of both is meant."""

    text: Array
    image: Array


class Autoregressive(nn.Module):
    """Logits of each token of a sequence given those before it.

    before: integers [B, n], the token that precedes each of n tokens: 0 ... V - 1 are words, V ... V + K - 1 codes of
    the image, V + K is the begin. sites: integers [B, n], what each of the n tokens is: 0 ... T - 1 the places of the
    text, T ... T + L - 1 those of the image. kind [B]: a `Sequence`, which modulates the norms; only read if T > 0.
    Returns `Logits`, float32; needs a `dropout` key if `train` and `dropout` > 0.

        tokens = vectors of before + vectors of sites,   tokens <- block(tokens) (`blocks.transformer.Block`)

    A token attends to itself and to those before it. nf: a quarter of the width. experts: see `Block`.
    at: the tokens are a sequence from number `at` on, whose keys and values are added to the collection "cache", and
    those before it are found there; None: the whole sequence, without a cache.
    Errors: ValueError for an unknown choice, or tokens and sites of different shapes.
    Source: Chen et al., "Generative Pretraining from Pixels", ICML 2020; Ramesh et al., ICML 2021, for texts.
    """

    num_words: int
    num_codes: int
    text_length: int
    num_image_tokens: int
    nf: int = 24
    num_blocks: int = 4
    num_heads: int = 4
    dropout: float = 0.0
    nonlinearity: str = "swish"
    experts: Experts | None = None
    remat: Remat = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, before: Array, sites: Array, kind: Array, *, train: bool = False, at: Array | int | None = None
    ) -> Logits:
        interface.check_choice("nonlinearity", self.nonlinearity, tuple(ACTIVATIONS))
        if before.shape != sites.shape:
            raise ValueError(f"Tokens of shape {before.shape} with sites of shape {sites.shape}; give a site to each.")
        (B, n), S, width = before.shape, self.text_length + self.num_image_tokens, 4 * self.nf
        act, size = ACTIVATIONS[self.nonlinearity], self.num_words + self.num_codes
        h = nn.Embed(size + 1, width, dtype=self.dtype, name="tokens")(before)
        positions = self.param("positions", nn.initializers.normal(0.02), (S, width))
        h = h + positions[sites].astype(h.dtype)
        modulation = None
        if self.text_length:
            modulation = act(nn.Embed(len(Sequence), width, dtype=self.dtype, name="kind")(kind))
        first = 0 if at is None else at
        mask = jnp.arange(n if at is None else S)[None] <= first + jnp.arange(n)[:, None]
        mask = jnp.broadcast_to(mask[None], (B, *mask.shape))
        for k in range(self.num_blocks):
            layer = block(Block, self.remat, static=(2, 4))
            options = {"rotated": False, "experts": self.experts, "cached": 0 if at is None else S}
            own = layer(self.num_heads, self.dropout, act, self.dtype, name=f"block_{k}", **options)
            h = own(h, (n,), modulation, train, mask, first)
        (h,) = modulated(h, modulation, 2, self.dtype, "modulation")
        out = dense(size, init_scale=0.0, dtype=self.dtype)(h).astype(jnp.float32)
        return Logits(out[..., : self.num_words], out[..., self.num_words :])


def sites_of(kind: Array, text_length: int, num_image_tokens: int) -> Array:
    """The sites of sequences in their order, [B, T + L]: the image first in IMAGE_TEXT, otherwise the text; kind [B].

    A sequence of the image alone is one of IMAGE_TEXT whose text is not looked at.
    """
    site = jnp.arange(text_length + num_image_tokens)
    image_first = kind[:, None] != Sequence.TEXT_IMAGE
    return jnp.where(image_first, jnp.roll(site, -text_length)[None], site[None])

"""The diffusion transformer: patches of series, images or volumes as tokens, conditioned by adaptive layer norms."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from models import interface
from models.blocks import rotary
from models.blocks.activations import ACTIVATIONS
from models.blocks.conditioning import Embedding, Entry
from models.blocks.convolution import dense
from models.blocks.remat import Remat, block
from models.blocks.transformer import Block, modulated

ENTRIES: tuple[Entry, ...] = ("add",)  # ways in for signals
POSITIONS = ("sincos", "rotary")
TIME_FREQUENCIES = 256  # the size of the sinusoidal embedding of time


class DiT(nn.Module):
    """A transformer on patches, with the modulation of `blocks.transformer.Block`.

    x: [B, *sides, C] with one to three sides, each a multiple of `patch_size`, C = `num_channels`. time [B], cond: see
    `conditioning.Embedding`, the field `embedding`. Returns the shape and dtype of x; needs a `dropout` key if `train`
    and `dropout` > 0.

        tokens = W patches(x) + positions,   tokens <- block(tokens), num_blocks times,   out = W_out modulated(tokens)

    nf: a quarter of the width. positions: "sincos", fixed vectors that are added, or "rotary". centered: x is in
    [-1, 1], not in [0, 1]. nonlinearity: of the embedding; perceptrons have GELU. The output starts at zero.
    Errors: ValueError for an unknown choice or an invalid shape.
    Source: Peebles and Xie, ICCV 2023; large patches of pixels, for networks that predict the data: Li and He, "Back to
    Basics: Let Denoising Generative Models Denoise", 2025.
    Notes: published networks also predict variances, in as many channels again.
    """

    nf: int = 96
    num_blocks: int = 12
    num_heads: int = 6
    patch_size: int = 2
    positions: str = "sincos"
    qk_norm: bool = False
    dropout: float = 0.0
    embedding: Embedding = Embedding()
    nonlinearity: str = "swish"
    num_channels: int = 3
    centered: bool = True
    remat: Remat = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, time: Array, cond: Mapping[str, Any] | None = None, *, train: bool = False) -> Array:
        interface.check_choice("nonlinearity", self.nonlinearity, tuple(ACTIVATIONS))
        interface.check_choice("positions", self.positions, POSITIONS)
        if (
            x.ndim not in (3, 4, 5)
            or x.shape[-1] != self.num_channels
            or any(s % self.patch_size for s in x.shape[1:-1])
        ):
            raise ValueError(
                f"Input of shape {x.shape}: expected [B, *sides, {self.num_channels}] with one to three sides, each a "
                f"multiple of patch_size = {self.patch_size}."
            )
        act, width = ACTIVATIONS[self.nonlinearity], 4 * self.nf
        temb = self.embedding(time, cond, nf=self.nf, act=act, dtype=self.dtype, num_frequencies=TIME_FREQUENCIES).temb
        modulation = None if temb is None else act(temb)
        patches = patchify((x if self.centered else 2 * x - 1).astype(self.dtype), self.patch_size)
        sides = tuple(side // self.patch_size for side in x.shape[1:-1])
        h = dense(width, dtype=self.dtype)(patches)
        if self.positions == "sincos":
            h = h + sincos(sides, width).astype(h.dtype)[None]
        kind = block(Block, self.remat, static=(2, 4))
        for k in range(self.num_blocks):
            options = {"rotated": self.positions == "rotary", "qk_norm": self.qk_norm, "name": f"block_{k}"}
            h = kind(self.num_heads, self.dropout, jax.nn.gelu, self.dtype, **options)(h, sides, modulation, train)
        (h,) = modulated(h, modulation, 2, self.dtype, "modulation")
        out = dense(patches.shape[-1], init_scale=0.0, dtype=self.dtype)(h)
        return unpatchify(out, self.patch_size, x.shape[1:]).astype(x.dtype)


def patchify(x: Array, size: int) -> Array:
    """Patches of x [B, *sides, C] in the order of their positions, each as a vector: [B, L, size^r C]."""
    *sides, C = x.shape[1:]
    r = len(sides)
    split = x.reshape(len(x), *(n for side in sides for n in (side // size, size)), C)
    order = (0, *range(1, 2 * r, 2), *range(2, 2 * r + 1, 2), 2 * r + 1)
    return split.transpose(order).reshape(len(x), -1, size**r * C)


def unpatchify(h: Array, size: int, shape: Sequence[int]) -> Array:
    """The examples of `shape` (*sides, C) from their patches [B, L, size^r C]: the inverse of `patchify`."""
    *sides, C = shape
    r = len(sides)
    split = h.reshape(len(h), *(side // size for side in sides), *(size,) * r, C)
    order = (0, *(axis for k in range(1, r + 1) for axis in (k, r + k)), 2 * r + 1)
    return split.transpose(order).reshape(len(h), *shape)


def sincos(sides: Sequence[int], width: int) -> np.ndarray:
    """Fixed vectors of all positions of a grid, [L, width]: sines and cosines of the angles of `rotary.angles`."""
    theta = rotary.angles(sides, width, max_period=10000.0)
    return np.concatenate([np.sin(theta), np.cos(theta)], axis=1)

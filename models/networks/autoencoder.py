"""Encoders and decoders of any rank: convolutional, or of each patch by itself."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks.activations import ACTIVATIONS, Activation
from models.blocks.convolution import conv, dense, spatial_rank

KINDS = ("conv", "patch", "raw")


def to_patches(x: Array, factor: int) -> Array:
    """[B, *sides, C] to [B, *(sides / factor), factor^n C]: each patch of `factor` values per side as one vector."""
    B, *sides, C = x.shape
    split = [part for side in sides for part in (side // factor, factor)]
    rank = len(sides)
    order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
    return x.reshape(B, *split, C).transpose(order).reshape(B, *(side // factor for side in sides), -1)


def from_patches(patches: Array, factor: int) -> Array:
    """The inverse of `to_patches`."""
    B, *sides, D = patches.shape
    rank = len(sides)
    x = patches.reshape(B, *sides, *(factor,) * rank, D // factor**rank)
    order = [0, *(axis for i in range(1, rank + 1) for axis in (i, rank + i)), 2 * rank + 1]
    return x.transpose(order).reshape(B, *(side * factor for side in sides), -1)


class Encoder(nn.Module):
    """Features [B, *(sides / factor), num_outputs] of x [B, *sides, C], float32.

    kind: `patch`, a perceptron on each patch by itself, or `conv`, 3-wide convolutions that halve the sides. nf:
    channels. Without residual blocks `patch` is linear, with orthogonal weights at first. `raw`, the values of each
    patch as they are, has no parameters.
    Errors: ValueError for another kind, or sides that `factor` does not divide.
    """

    kind: str
    factor: int
    nf: int
    num_blocks: int
    num_outputs: int
    nonlinearity: str = "swish"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        interface.check_choice("kind", self.kind, KINDS)
        act = ACTIVATIONS[self.nonlinearity]
        if self.kind == "raw":
            return to_patches(x, self.factor)
        if self.kind == "patch":
            h = to_patches(x, self.factor)
            if not self.num_blocks:
                return nn.Dense(self.num_outputs, kernel_init=nn.initializers.orthogonal())(h)
            h = dense(self.nf, dtype=self.dtype)(h)
        else:
            h = conv(self.nf, rank=spatial_rank(x), dtype=self.dtype)(x)
            for _ in range(halvings(self.factor)):
                h = dense(self.nf, dtype=self.dtype)(to_patches(_Block(act, 3, self.dtype)(h), 2))
        for _ in range(self.num_blocks):
            h = _Block(act, 3 if self.kind == "conv" else 1, self.dtype)(h)
        return dense(self.num_outputs)(_normalized(h, act, self.dtype).astype(jnp.float32))


class Decoder(nn.Module):
    """Data [B, *sides, num_channels] from latents [B, *(sides / factor), D], float32; see `Encoder`."""

    kind: str
    factor: int
    nf: int
    num_blocks: int
    num_channels: int
    nonlinearity: str = "swish"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array) -> Array:
        interface.check_choice("kind", self.kind, KINDS)
        act, rank = ACTIVATIONS[self.nonlinearity], spatial_rank(z)
        size = 3 if self.kind == "conv" else 1
        if self.kind == "raw":
            return from_patches(z, self.factor)
        if self.kind == "patch" and not self.num_blocks:
            return from_patches(nn.Dense(self.factor**rank * self.num_channels)(z), self.factor)
        h = conv(self.nf, size, rank=rank, dtype=self.dtype)(z)
        for _ in range(self.num_blocks):
            h = _Block(act, size, self.dtype)(h)
        if self.kind == "patch":
            out = dense(self.factor**rank * self.num_channels)(_normalized(h, act, self.dtype).astype(jnp.float32))
            return from_patches(out, self.factor)
        for _ in range(halvings(self.factor)):
            h = from_patches(dense(2**rank * self.nf, dtype=self.dtype)(h), 2)
            h = _Block(act, size, self.dtype)(h)
        return conv(self.num_channels, rank=rank)(_normalized(h, act, self.dtype).astype(jnp.float32))


def halvings(factor: int) -> int:
    """How often the sides are halved. Errors: ValueError unless `factor` is a power of 2."""
    number = factor.bit_length() - 1
    if 2**number != factor:
        raise ValueError(f"factor = {factor} is not a power of 2, as convolutions need; use one, or kind 'patch'.")
    return number


def check_sides(sides: Sequence[int], factor: int) -> bool:
    """Whether patches of `factor` values per side tile the sides."""
    return not any(side % factor for side in sides)


class _Block(nn.Module):
    """h + conv(act(norm(conv(act(norm(h)))))), with convolutions `size` values wide."""

    act: Activation
    size: int
    dtype: Any

    @nn.compact
    def __call__(self, h: Array) -> Array:
        rank, features = spatial_rank(h), h.shape[-1]
        r = conv(features, self.size, rank=rank, dtype=self.dtype)(_normalized(h, self.act, self.dtype))
        return h + conv(features, self.size, rank=rank, dtype=self.dtype)(_normalized(r, self.act, self.dtype))


def _normalized(h: Array, act: Activation, dtype: Any) -> Array:
    """act(norm(h)), normalized over the channels of each position, so that `patch` sees no other patch."""
    return act(nn.LayerNorm(dtype=dtype)(h))

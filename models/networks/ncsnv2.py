"""NCSNv2: a RefineNet that is not conditioned on the noise level, in three sizes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from core.arrays import Array
from models import interface
from models.blocks import refinenet
from models.blocks.activations import ACTIVATIONS
from models.blocks.remat import Remat, block


class Stage(NamedTuple):
    """Two residual blocks, `width` nf wide; `down`, for the first, halves the resolution unless `dilation` > 1."""

    width: int
    down: bool = True
    dilation: int = 1


class Variant(NamedTuple):
    """The stages on the way down, and the widths of the refine blocks on the way up, one per stage."""

    stages: Sequence[Stage]
    refinements: Sequence[int]

    @property
    def halvings(self) -> int:
        """The number of times that the resolution is halved."""
        return sum(stage.down and stage.dilation == 1 for stage in self.stages)


class NCSNv2(nn.Module):
    """Score network with dilated residual blocks; the published field names.

    x: [B, H, W, C] with C = `num_channels` and sides divisible by 2, 4 or 8 for `size` 64, 128 or 256.
    time: [B]. The noise level divides the output if `scale_by_sigma`: it is `sigmas[int(time)]`, where `sigmas` are the
        noise levels in descending order, or a float `time` itself if `sigmas` is None.
    cond, train: not used, since there are no class labels and no dropout. Returns [B, H, W, C] in the dtype of x.

    size: the resolution in pixels that the variant was designed for (64 also serves 32). `centered = False` lets the
    network map x from [0, 1] to [-1, 1] itself; `dtype` is the dtype of convolutions; `remat` computes the activations
    of blocks again for the gradient.

    Source: Song and Ermon, "Improved Techniques for Training Score-Based Generative Models", 2020, appendix B.
    Errors: ValueError for an unknown choice or an invalid shape.
    """

    nf: int = 128
    size: int = 64
    scale_by_sigma: bool = True
    nonlinearity: str = "elu"
    normalization: str = "InstanceNorm++"
    interpolation: str = "bilinear"
    num_channels: int = 3
    num_classes: int = 0
    centered: bool = False
    sigmas: Sequence[float] | None = None
    dtype: Any = jnp.float32
    remat: Remat = False

    @nn.compact
    def __call__(self, x: Array, time: Array, cond: Mapping[str, Any] | None = None, *, train: bool = False) -> Array:
        interface.check_choice("nonlinearity", self.nonlinearity, tuple(ACTIVATIONS))
        interface.check_choice("normalization", self.normalization, ("InstanceNorm++",))
        interface.check_choice("interpolation", self.interpolation, ("bilinear",))
        interface.check_choice("size", self.size, tuple(VARIANTS))
        variant = VARIANTS[self.size]
        interface.check_image(x, self.num_channels, 2**variant.halvings)
        act = ACTIVATIONS[self.nonlinearity]
        shared: dict[str, Any] = {"num_classes": self.num_classes, "dtype": self.dtype}
        classes = self.num_classes > 0
        residual = block(refinenet.ConditionalResidualBlock if classes else refinenet.ResidualBlock, self.remat)
        refine = block(refinenet.CondRefineBlock if classes else refinenet.RefineBlock, self.remat)

        h = (x if self.centered else 2 * x - 1).astype(self.dtype)
        h = refinenet.conv(h, self.nf, dtype=self.dtype)
        maps = []
        for width, down, dilation in variant.stages:
            h = residual(act, width * self.nf, down, dilation, **shared)(h, time)
            h = residual(act, width * self.nf, False, dilation, **shared)(h, time)
            maps.append(h)
        inputs = [maps.pop()]
        for number, width in enumerate(variant.refinements):
            start, end = number == 0, not maps
            h = refine(act, width * self.nf, start, end, interpolation=self.interpolation, **shared)(inputs, time)
            inputs = [] if end else [maps.pop(), h]
        h = act(refinenet.norm(h, self.num_classes, time))
        h = refinenet.conv(h, self.num_channels, dtype=self.dtype).astype(x.dtype)
        is_sigma = self.sigmas is None and jnp.issubdtype(time.dtype, jnp.floating)
        return interface.over_sigma(h, self.sigmas, time, is_sigma=is_sigma) if self.scale_by_sigma else h


VARIANTS: dict[int, Variant] = {
    64: Variant(
        [Stage(1, down=False), Stage(2), Stage(2, dilation=2), Stage(2, dilation=4)],
        [2, 2, 2, 1],
    ),
    128: Variant(
        [Stage(1, down=False), Stage(2), Stage(2), Stage(4, dilation=2), Stage(4, dilation=4)],
        [4, 2, 2, 1, 1],
    ),
    256: Variant(
        [Stage(1, down=False), Stage(2), Stage(2), Stage(2), Stage(4, dilation=2), Stage(4, dilation=4)],
        [4, 2, 2, 2, 1, 1],
    ),
}

"""InceptionV3 for the Frechet distance: the graph published on 2015-12-05, whose features are compared.

Source: Szegedy et al., "Rethinking the Inception Architecture", 2016 (figures 5, 6, 7, 10), in the version of the
graph: 1008 classes, average pools over real pixels only, a max pool in the last block, and TensorFlow 1's resizing.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array

SIZE = 299  # pixels along each side of the graph's input
NUM_FEATURES, NUM_CLASSES = 2048, 1008


@dataclasses.dataclass(frozen=True)
class Conv:
    """A row of the tables: a convolution with normalization and ReLU, `size` = (height, width) of its kernel."""

    name: str
    features: int
    size: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"


Layer = Conv | Callable[[Array], Array] | tuple[Conv, ...]  # a tuple: side by side on one input
Branch = tuple[Layer, ...]  # one after the other
Block = tuple[Branch, ...]  # side by side on one input, joined along the channels


class Unit(nn.Module):
    """relu(scale (W * x - mean) / sqrt(var + 0.001) + bias).

    `mean` and `var` are those of the training set, and parameters like the others.
    """

    conv: Conv

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] to [B, H', W', features]."""
        features = self.conv.features
        kernel = self.param("kernel", nn.initializers.he_normal(), (*self.conv.size, x.shape[-1], features))
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        scale, bias = self.param("scale", ones, (features,)), self.param("bias", zeros, (features,))
        mean, var = self.param("mean", zeros, (features,)), self.param("var", ones, (features,))
        x = jax.lax.conv_general_dilated(
            x,
            kernel,
            (self.conv.stride, self.conv.stride),
            self.conv.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=jax.lax.Precision.HIGHEST,  # accelerators would round to 10 bits or fewer
        )
        factor = scale * jax.lax.rsqrt(var + 0.001)
        return nn.relu(x * factor[None, None, None, :] + (bias - mean * factor)[None, None, None, :])


class Mixed(nn.Module):
    """The branches of a block, joined along the channels in the order of the table."""

    block: Block

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] to [B, H', W', C']."""
        outputs = []
        for branch in self.block:
            h = x
            for layer in branch:
                if isinstance(layer, Conv):
                    h = Unit(layer, name=layer.name)(h)
                elif isinstance(layer, tuple):
                    h = jnp.concatenate([Unit(conv, name=conv.name)(h) for conv in layer], axis=-1)
                else:
                    h = layer(h)
            outputs.append(h)
        return jnp.concatenate(outputs, axis=-1)


class InceptionV3(nn.Module):
    """Features and logits of images [B, 299, 299, 3] in 0 ... 255, see `resize`, as (x - 128) / 128.

    Returns "features" [B, 2048], the mean over positions of the last block, and "logits" [B, 1008] without the bias of
    the last layer, which the Inception score has always omitted.
    """

    @nn.compact
    def __call__(self, x: Array) -> dict[str, Array]:
        """Features and logits; see the class."""
        if x.ndim != 4 or x.shape[1:] != (SIZE, SIZE, 3):
            raise ValueError(f"InceptionV3 got {x.shape}; it takes [B, {SIZE}, {SIZE}, 3]")
        x = (x - 128) / 128
        for name, part in GRAPH.items():
            if isinstance(part, Conv):
                x = Unit(part, name=name)(x)
            elif isinstance(part, tuple):
                x = Mixed(part, name=name)(x)
            else:
                x = part(x)
        features = x.mean((1, 2))
        kernel = self.param("fc", nn.initializers.lecun_normal(), (NUM_FEATURES, NUM_CLASSES))
        return {"features": features, "logits": jnp.matmul(features, kernel, precision=jax.lax.Precision.HIGHEST)}


def resize(images: Array, size: int = SIZE) -> Array:
    """Bilinear resizing as in TensorFlow 1, without anti-aliasing: output pixel i is the input at i H / size.

        out[i] = (1 - d) x[l] + d x[min(l + 1, H - 1)],   l = floor(i H / size),   d = i H / size - l

    along both axes; corners and pixel centers are not aligned. images: [B, H, W, C] uint8 or float; returns float32
    [B, size, size, C]. Source: the operation ResizeBilinear of the graph, align_corners = half_pixel_centers = False.
    """
    x = images.astype(jnp.float32)
    low, high, weight = _positions(x.shape[2], size)
    x = x[:, :, low] + (x[:, :, high] - x[:, :, low]) * weight[None, None, :, None]
    low, high, weight = _positions(x.shape[1], size)
    return x[:, low] + (x[:, high] - x[:, low]) * weight[None, :, None, None]


def _positions(extent: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both neighbors and the weight of the second, each [size]; in float32, as the graph computes them."""
    position = np.arange(size, dtype=np.float32) * np.float32(extent / size)
    low = position.astype(np.int32)
    return low, np.minimum(low + 1, extent - 1), position - low


def parameter_shapes() -> dict[str, Any]:
    """The parameters as a tree of `jax.ShapeDtypeStruct`, which a file of weights must match; nothing is computed."""
    images = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    return jax.eval_shape(InceptionV3().init, jax.random.key(0), images)["params"]


def _average_pool(x: Array) -> Array:
    """Mean over 3x3 pixels, not counting those beyond the border."""
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def _max_pool(x: Array) -> Array:
    """Maximum over 3x3 pixels."""
    return nn.max_pool(x, (3, 3), (1, 1), "SAME")


def _halve(x: Array) -> Array:
    """Maximum over 3x3 pixels, with stride 2."""
    return nn.max_pool(x, (3, 3), (2, 2), "VALID")


def _block_35(pool_features: int) -> Block:
    """35x35 positions, figure 5: 1x1, 5x5, two 3x3, and a pool."""
    return (
        (Conv("branch1x1", 64),),
        (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
        (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3)), Conv("branch3x3dbl_3", 96, (3, 3))),
        (_average_pool, Conv("branch_pool", pool_features)),
    )


def _block_17(width: int) -> Block:
    """17x17 positions, figure 6: one and two 7x7, factored into rows and columns of seven."""
    row, column = (1, 7), (7, 1)
    return (
        (Conv("branch1x1", 192),),
        (Conv("branch7x7_1", width), Conv("branch7x7_2", width, row), Conv("branch7x7_3", 192, column)),
        (
            Conv("branch7x7dbl_1", width),
            Conv("branch7x7dbl_2", width, column),
            Conv("branch7x7dbl_3", width, row),
            Conv("branch7x7dbl_4", width, column),
            Conv("branch7x7dbl_5", 192, row),
        ),
        (_average_pool, Conv("branch_pool", 192)),
    )


def _block_8(pool: Callable[[Array], Array]) -> Block:
    """8x8 positions, figure 7: rows and columns of three side by side."""
    row, column = (1, 3), (3, 1)
    return (
        (Conv("branch1x1", 320),),
        (Conv("branch3x3_1", 384), (Conv("branch3x3_2a", 384, row), Conv("branch3x3_2b", 384, column))),
        (
            Conv("branch3x3dbl_1", 448),
            Conv("branch3x3dbl_2", 384, (3, 3)),
            (Conv("branch3x3dbl_3a", 384, row), Conv("branch3x3dbl_3b", 384, column)),
        ),
        (pool, Conv("branch_pool", 192)),
    )


# Figure 10: from 35x35 to 17x17 and from 17x17 to 8x8 positions.
_TO_17: Block = (
    (Conv("branch3x3", 384, (3, 3), 2, "VALID"),),
    (
        Conv("branch3x3dbl_1", 64),
        Conv("branch3x3dbl_2", 96, (3, 3)),
        Conv("branch3x3dbl_3", 96, (3, 3), 2, "VALID"),
    ),
    (_halve,),
)
_TO_8: Block = (
    (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, (3, 3), 2, "VALID")),
    (
        Conv("branch7x7x3_1", 192),
        Conv("branch7x7x3_2", 192, (1, 7)),
        Conv("branch7x7x3_3", 192, (7, 1)),
        Conv("branch7x7x3_4", 192, (3, 3), 2, "VALID"),
    ),
    (_halve,),
)

# The graph from input to features. The names are those of the published PyTorch weights: the parameters of
# `GRAPH["Mixed_5b"]`'s Conv "branch5x5_1" are the file's `Mixed_5b.branch5x5_1.conv.weight` and `....bn.*`.
GRAPH: dict[str, Conv | Callable[[Array], Array] | Block] = {
    "Conv2d_1a_3x3": Conv("Conv2d_1a_3x3", 32, (3, 3), 2, "VALID"),
    "Conv2d_2a_3x3": Conv("Conv2d_2a_3x3", 32, (3, 3), 1, "VALID"),
    "Conv2d_2b_3x3": Conv("Conv2d_2b_3x3", 64, (3, 3)),
    "pool_1": _halve,
    "Conv2d_3b_1x1": Conv("Conv2d_3b_1x1", 80),
    "Conv2d_4a_3x3": Conv("Conv2d_4a_3x3", 192, (3, 3), 1, "VALID"),
    "pool_2": _halve,
    "Mixed_5b": _block_35(32),
    "Mixed_5c": _block_35(64),
    "Mixed_5d": _block_35(64),
    "Mixed_6a": _TO_17,
    "Mixed_6b": _block_17(128),
    "Mixed_6c": _block_17(160),
    "Mixed_6d": _block_17(160),
    "Mixed_6e": _block_17(192),
    "Mixed_7a": _TO_8,
    "Mixed_7b": _block_8(_average_pool),
    "Mixed_7c": _block_8(_max_pool),
}

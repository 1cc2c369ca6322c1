"""EDM's augmentation: geometric transformations of images, on which the network is conditioned.

An image is flipped, scaled, rotated, stretched and translated, each with probability `p`. In pixels from the center,
the pixel of the result at q = (x, y) is the image at A^-1 q, where A is the product of

    x-flip        diag(-1, 1)                            with probability p / 2
    y-flip        diag(1, -1)                            with probability p / 2
    scaling       s I,                s = 2^(0.2 n)
    rotation      R(a),               a ~ U(-pi, pi)
    anisotropy    R(b) diag(r, 1/r) R(-b),   b ~ U(-pi, pi),  r = 2^(0.2 n)
    translation   + (0.125 n W, 0.125 m H)

with n, m ~ N(0, 1), and the image is mirrored at its borders. The label holds the parameters of the transformations, 0
for those that were not applied, so that a network conditioned on zeros generates images without them.

Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", NeurIPS 2022, appendix F.2.
Notes: the label of the anisotropy has twice its angle, n cos 2b and n sin 2b; with b itself, as published, -n at b and
n at b + pi would have the same label, although they are different transformations. One bilinear interpolation at the
end, where the paper filters with wavelets at twice the resolution; flips and translations by whole pixels stay exact.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from core.arrays import Array
from core.keys import AugmentationDraw, AugmentationKey, fold_in

NUM_LABELS = 9
SCALE_STD, ANISOTROPY_STD, TRANSLATION_STD = 0.2, 0.2, 0.125


def augment(keys: Array, x: Array, probability: float) -> tuple[Array, Array]:
    """Transformed images of `x` [B, H, W, C] float, and the label [B, 9] of their transformations; `keys` [B].

    Label: x-flip, y-flip, n of the scaling, cos a - 1 and sin a, n cos 2b and n sin 2b of the anisotropy, n and m of
    the translation.
    """
    return jax.vmap(lambda key, image: _augmented(key, image, probability))(keys, x)


def matrix(label: Array, height: int, width: int) -> Array:
    """A [3, 3] of a label [9], in homogeneous coordinates (x, y, 1) in pixels; the identity for zeros."""
    x_flip, y_flip, scale, cos, sin, stretch_x, stretch_y, right, down = label
    strength = jnp.hypot(stretch_x, stretch_y)
    b, ratio = jnp.arctan2(stretch_y, stretch_x) / 2, 2 ** (ANISOTROPY_STD * strength)
    rotated, back = _rotation(jnp.cos(b), jnp.sin(b)), _rotation(jnp.cos(b), -jnp.sin(b))
    translation = jnp.eye(3).at[:2, 2].set(TRANSLATION_STD * jnp.stack([width * right, height * down]))
    factors = (
        translation,
        _product(_product(rotated, _diagonal(ratio, 1 / ratio)), back),
        _rotation(cos + 1, sin),
        _diagonal(*[2 ** (SCALE_STD * scale)] * 2),
        _diagonal(1, 1 - 2 * y_flip),
        _diagonal(1 - 2 * x_flip, 1),
    )
    return functools.reduce(_product, factors)


def sample_label(key: Array, probability: float) -> Array:
    """A random label [9]; see `augment`."""

    def key_of(transformation: AugmentationKey, purpose: AugmentationDraw) -> Array:
        return fold_in(fold_in(key, transformation), purpose)

    def when(transformation: AugmentationKey, values: Array, chance: float) -> Array:
        applied = jax.random.bernoulli(key_of(transformation, AugmentationDraw.WHETHER), chance)
        return jnp.where(applied, values, 0.0)

    def normal(transformation: AugmentationKey, num: int) -> Array:
        return jax.random.normal(key_of(transformation, AugmentationDraw.HOW), (num,))

    def angle(transformation: AugmentationKey) -> Array:
        key = key_of(transformation, AugmentationDraw.DIRECTION)
        return jax.random.uniform(key, (), minval=-math.pi, maxval=math.pi)

    a, b = angle(AugmentationKey.ROTATION), angle(AugmentationKey.ANISOTROPY)
    return jnp.concatenate(
        [
            when(AugmentationKey.X_FLIP, jnp.ones(1), probability / 2),
            when(AugmentationKey.Y_FLIP, jnp.ones(1), probability / 2),
            when(AugmentationKey.SCALE, normal(AugmentationKey.SCALE, 1), probability),
            when(AugmentationKey.ROTATION, jnp.stack([jnp.cos(a) - 1, jnp.sin(a)]), probability),
            when(
                AugmentationKey.ANISOTROPY,
                normal(AugmentationKey.ANISOTROPY, 1) * jnp.stack([jnp.cos(2 * b), jnp.sin(2 * b)]),
                probability,
            ),
            when(AugmentationKey.TRANSLATION, normal(AugmentationKey.TRANSLATION, 2), probability),
        ]
    )


def warp(image: Array, forward: Array) -> Array:
    """The image [H, W, C] transformed by A = `forward` [3, 3]: bilinear interpolation, mirrored at its borders."""
    height, width, _ = image.shape
    rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    points = jnp.stack([columns - center_x, rows - center_y, jnp.ones(rows.shape)]).reshape(3, -1)
    x, y, _ = _product(jnp.linalg.inv(forward), points)
    coordinates = [y + center_y, x + center_x]
    planes = [map_coordinates(image[..., c], coordinates, order=1, mode="mirror") for c in range(image.shape[-1])]
    return jnp.stack(planes, axis=-1).reshape(image.shape)


def _augmented(key: Array, image: Array, probability: float) -> tuple[Array, Array]:
    label = sample_label(key, probability)
    return warp(image, matrix(label, *image.shape[:2])), label


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")


def _rotation(cos: Array, sin: Array) -> Array:
    zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
    return jnp.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one]).reshape(3, 3)


def _diagonal(x: Array | float, y: Array | float) -> Array:
    return jnp.diag(jnp.stack([jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), jnp.float32(1)]))

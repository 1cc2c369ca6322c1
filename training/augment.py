"""EDM's augmentation: geometric changes of images of which the network is told, so that samples do not show them.

An image is flipped, scaled, turned, stretched and moved, each with probability `p`. In pixels from the middle, a pixel
of the result at q = (x, y) shows the image at A^-1 q, where A is the product of

    x-flip        diag(-1, 1)                            with probability p / 2
    y-flip        diag(1, -1)                            with probability p / 2
    scaling       s I,                s = 2^(0.2 n)
    rotation      R(a),               a ~ U(-pi, pi)
    anisotropy    R(b) diag(r, 1/r) R(-b),   b ~ U(-pi, pi),  r = 2^(0.2 n)
    translation   + (0.125 n W, 0.125 m H)

with n, m ~ N(0, 1), and pixels outside are mirrored at the borders. The label holds what was drawn, 0 for what was not
done, so that a network which is told zeros draws images that are not changed.

Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", NeurIPS 2022, appendix F.2.
Notes: the label of the anisotropy has twice its angle, n cos 2b and n sin 2b; with b itself, as published, -n at b and
n at b + pi would have one label, though they are different changes. One bilinear interpolation at the end, where the
paper filters with wavelets at twice the resolution; flips and whole numbers of pixels stay exact.
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
    """Changed images of `x` [B, H, W, C] float, and the label [B, 9] that says how; `keys` [B], consumed.

    Label: x-flip, y-flip, n of the scaling, cos a - 1 and sin a, n cos 2b and n sin 2b of the anisotropy, n and m of
    the translation.
    """
    return jax.vmap(lambda key, image: _augmented(key, image, probability))(keys, x)


def matrix(label: Array, height: int, width: int) -> Array:
    """A [3, 3] of a label [9], in homogeneous coordinates (x, y, 1) in pixels; the unit matrix for zeros."""
    x_flip, y_flip, scale, cos, sin, stretch_x, stretch_y, right, down = label
    strength = jnp.hypot(stretch_x, stretch_y)
    b, ratio = jnp.arctan2(stretch_y, stretch_x) / 2, 2 ** (ANISOTROPY_STD * strength)
    turned, back = _rotation(jnp.cos(b), jnp.sin(b)), _rotation(jnp.cos(b), -jnp.sin(b))
    moved = jnp.eye(3).at[:2, 2].set(TRANSLATION_STD * jnp.stack([width * right, height * down]))
    factors = (
        moved,
        _product(_product(turned, _diagonal(ratio, 1 / ratio)), back),
        _rotation(cos + 1, sin),
        _diagonal(*[2 ** (SCALE_STD * scale)] * 2),
        _diagonal(1, 1 - 2 * y_flip),
        _diagonal(1 - 2 * x_flip, 1),
    )
    return functools.reduce(_product, factors)


def draw(key: Array, probability: float) -> Array:
    """A label [9]; see `augment`."""

    def when(step: int, values: Array, chance: float) -> Array:
        return jnp.where(
            jax.random.bernoulli(fold_in(fold_in(key, step), AugmentationDraw.WHETHER), chance), values, 0.0
        )

    def normal(step: int, num: int) -> Array:
        return jax.random.normal(fold_in(fold_in(key, step), AugmentationDraw.HOW), (num,))

    def angle(step: int) -> Array:
        return jax.random.uniform(
            fold_in(fold_in(key, step), AugmentationDraw.DIRECTION), (), minval=-math.pi, maxval=math.pi
        )

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
    """The image [H, W, C] seen through A = `forward` [3, 3]: bilinear, mirrored at its borders."""
    height, width, _ = image.shape
    rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    places = jnp.stack([columns - middle_x, rows - middle_y, jnp.ones(rows.shape)]).reshape(3, -1)
    x, y, _ = _product(jnp.linalg.inv(forward), places)
    at = [y + middle_y, x + middle_x]
    planes = [map_coordinates(image[..., c], at, order=1, mode="mirror") for c in range(image.shape[-1])]
    return jnp.stack(planes, axis=-1).reshape(image.shape)


def _augmented(key: Array, image: Array, probability: float) -> tuple[Array, Array]:
    label = draw(key, probability)
    return warp(image, matrix(label, *image.shape[:2])), label


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")


def _rotation(cos: Array, sin: Array) -> Array:
    zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
    return jnp.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one]).reshape(3, 3)


def _diagonal(x: Array | float, y: Array | float) -> Array:
    return jnp.diag(jnp.stack([jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), jnp.float32(1)]))

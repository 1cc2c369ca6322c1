"""Rotary positions: attention that depends on the difference of two positions on a grid of any rank."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from core.arrays import Array


def angles(sides: Sequence[int], width: int, max_period: float = 100.0) -> np.ndarray:
    """The angles of every position of a grid, [prod(sides), width / 2]: an equal share of them for each axis.

    Along an axis of r, position p has the angles `p max_period^(-k / n)`, k = 0 ... n - 1, n = floor(width / (2 r));
    what is left of the width has the angle 0. Errors: ValueError for a width that is odd, or below 2 r.
    Source: Su et al., "RoFormer", 2021, equation 15; several axes: Heo et al., ECCV 2024, section 3.2 (axial).
    """
    num = width // (2 * len(sides))
    if width % 2 or not num:
        raise ValueError(
            f"Rotary positions on {len(sides)} axes need heads of an even width, at least {2 * len(sides)}, not "
            f"{width}."
        )
    frequencies = max_period ** (-np.arange(num) / num)
    positions = np.stack(np.meshgrid(*(np.arange(side) for side in sides), indexing="ij"), axis=-1)
    theta = (positions.reshape(-1, len(sides), 1) * frequencies).reshape(-1, len(sides) * num)
    return np.pad(theta, ((0, 0), (0, width // 2 - theta.shape[1]))).astype(np.float32)


def rotate(h: Array, theta: np.ndarray) -> Array:
    """Turns each pair (i, i + D / 2) of h [B, L, H, D] by the angle theta [L, D / 2]."""
    cos, sin = (jnp.asarray(f(theta), h.dtype)[None, :, None] for f in (np.cos, np.sin))
    a, b = jnp.split(h, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)

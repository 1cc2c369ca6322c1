"""What the networks have in common: the data that they take, the choices that they offer, the table of sigmas."""

from collections.abc import Sequence

import jax.numpy as jnp

from core.arrays import Array

SIDES = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}  # names of the axes of space of series, images, volumes


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """ValueError unless `value`, the setting called `name`, is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} = {value!r} is not one of {tuple(choices)}.")


def check_grid(x: Array, num_channels: int, divisor: int, ranks: Sequence[int] = (1, 2, 3)) -> None:
    """ValueError unless `x` is [B, ..., num_channels] with one of `ranks` axes of space, which `divisor` divides."""
    rank = x.ndim - 2
    if rank in ranks and x.shape[-1] == num_channels and not any(side % divisor for side in x.shape[1:-1]):
        return
    sides = SIDES[rank if rank in ranks else ranks[-1]]
    shapes = f"[B, {', '.join(sides)}, {num_channels}]"
    if rank not in ranks and len(ranks) > 1:
        shapes = " or ".join(f"[B, {', '.join(SIDES[rank])}, {num_channels}]" for rank in ranks)
    raise ValueError(f"Input of shape {x.shape}: expected {shapes} with {' and '.join(sides)} divisible by {divisor}.")


def check_image(x: Array, num_channels: int, divisor: int) -> None:
    """ValueError unless `x` is [B, H, W, num_channels] with sides that `divisor` divides."""
    check_grid(x, num_channels, divisor, (2,))


def per_example(values: Array, x: Array) -> Array:
    """`values` [B] as [B, 1, ..., 1], to be combined with `x` [B, ...]."""
    return values.reshape(values.shape[0], *(1,) * (x.ndim - 1))


def sigma_of_level(sigmas: Sequence[float] | None, level: Array) -> Array:
    """`sigmas[int(level)]` for `level` [B], 0 the first in the table. ValueError without a table."""
    if sigmas is None:
        raise ValueError("scale_by_sigma needs `sigmas`, the noise levels in descending order.")
    return jnp.asarray(sigmas, jnp.float32)[level.astype(jnp.int32)]

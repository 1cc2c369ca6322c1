"""What the networks share: checks of their input and of their settings, and the table of sigmas."""

from collections.abc import Sequence

import jax.numpy as jnp

from core.arrays import Array, broadcast_to_rank

SIDES = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}  # names of the spatial axes of series, images, volumes


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Errors: ValueError unless `value`, the setting called `name`, is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} = {value!r} is not one of {tuple(choices)}.")


def check_grid(x: Array, num_channels: int, divisor: int, ranks: Sequence[int] = (1, 2, 3)) -> None:
    """Errors: ValueError unless `x` is [B, ..., num_channels] with a number of spatial axes in `ranks`, each a multiple
    of `divisor`.
    """
    rank = x.ndim - 2
    if rank in ranks and x.shape[-1] == num_channels and not any(side % divisor for side in x.shape[1:-1]):
        return
    sides = SIDES[rank if rank in ranks else ranks[-1]]
    shapes = f"[B, {', '.join(sides)}, {num_channels}]"
    if rank not in ranks and len(ranks) > 1:
        shapes = " or ".join(f"[B, {', '.join(SIDES[rank])}, {num_channels}]" for rank in ranks)
    raise ValueError(f"Input of shape {x.shape}: expected {shapes} with {' and '.join(sides)} divisible by {divisor}.")


def check_image(x: Array, num_channels: int, divisor: int) -> None:
    """Errors: ValueError unless `x` is [B, H, W, num_channels] with sides that are multiples of `divisor`."""
    check_grid(x, num_channels, divisor, (2,))


def sigma_of_level(sigmas: Sequence[float] | None, level: Array) -> Array:
    """`sigmas[int(level)]` for `level` [B]; level 0 is the first in the table. Errors: ValueError without a table."""
    if sigmas is None:
        raise ValueError("scale_by_sigma needs `sigmas`, the noise levels in descending order.")
    return jnp.asarray(sigmas, jnp.float32)[level.astype(jnp.int32)]


def over_sigma(x: Array, sigmas: Sequence[float] | None, time: Array, *, is_sigma: bool) -> Array:
    """x [B, ...] divided by the noise level: `time` [B] itself if it `is_sigma`, otherwise `sigmas[int(time)]`."""
    return x / broadcast_to_rank(time if is_sigma else sigma_of_level(sigmas, time), x)

"""What the networks have in common: the images that they take, the choices that they offer, the table of sigmas."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

Array = jax.Array


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """ValueError unless `value`, the setting called `name`, is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} = {value!r} is not one of {tuple(choices)}.")


def check_image(x: Array, num_channels: int, divisor: int) -> None:
    """ValueError unless `x` is [B, H, W, num_channels] with sides that `divisor` divides."""
    if x.ndim != 4 or x.shape[3] != num_channels or x.shape[1] % divisor or x.shape[2] % divisor:
        raise ValueError(
            f"Input of shape {x.shape}: expected [B, H, W, {num_channels}] with H and W divisible by {divisor}."
        )


def sigma_of_level(sigmas: Sequence[float] | None, level: Array) -> Array:
    """`sigmas[int(level)]` for `level` [B], 0 the first in the table. ValueError without a table."""
    if sigmas is None:
        raise ValueError("scale_by_sigma needs `sigmas`, the noise levels in descending order.")
    return jnp.asarray(sigmas, jnp.float32)[level.astype(jnp.int32)]

"""Samplers that start from data with noise: the time at which a process has that noise, and its sample there."""

import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from sampling.grids import noise_level
from sde.base import SDE

BISECTIONS = 60


def time_of_noise(sde: SDE, noise_std: float) -> float:
    """The time t in (0, 1] with std(t) / mean_coeff(t) = `noise_std`, by bisection.

    For a chain the time of its first level with at least that noise. Errors: ValueError if the process has never as
    much noise, or always more.
    """
    if sde.is_discrete:
        times = np.asarray([sde.time(jnp.asarray(level)) for level in range(sde.num_scales)], np.float64)  # type: ignore[attr-defined]
    else:
        times = np.array([1e-6, 1.0])
    least, most = noise_level(sde, times[:1])[0], noise_level(sde, times[-1:])[0]
    if not (0 if sde.is_discrete else least) < noise_std <= most:
        raise ValueError(
            f"Noise with a standard deviation of {noise_std:g}, as the network sees it, is not among those of the SDE, "
            f"{least:g} to {most:g}; give another one."
        )
    if sde.is_discrete:
        return float(times[np.argmax(noise_level(sde, times) >= noise_std)])
    low, high = times
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if noise_level(sde, np.array([middle]))[0] < noise_std else (low, middle)
    return float(high)


def at_noise(sde: SDE, t: float, x: Array, noise_std: float, z: Array) -> Array:
    """x_t = m x + sqrt(std^2 - (m noise_std)^2) z for data x [B, ...] that have noise of `noise_std` already.

    m = mean_coeff(t), std = std(t); z [B, ...] is standard normal. `noise_std` is 0 for data without noise.
    """
    m, std = sde.mean_coeff(jnp.asarray(t)), sde.std(jnp.asarray(t))
    return m * x + jnp.sqrt(jnp.maximum(std**2 - (m * noise_std) ** 2, 0.0)) * z

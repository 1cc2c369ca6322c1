"""Time grids of fixed-step samplers: tuples of decreasing times, one more than there are steps.

A grid has equal steps in a coordinate u(t): the time itself, its square root, the log-SNR, or a power of the noise
level std(t) / mean_coeff(t). For a chain it consists of the nearest levels, and its last step goes to the data.
"""

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from sde.base import SDE

Coordinate = Callable[[np.ndarray], np.ndarray]  # times [K] -> u [K], strictly monotone


def uniform(num_steps: int, eps: float, t_max: float = 1.0) -> tuple[float, ...]:
    """`num_steps` equal steps from `t_max` to `eps`: num_steps + 1 times.

    Errors: ValueError for no steps, and unless 0 <= eps < t_max.
    Notes: the published grid has N times, that is N - 1 intervals, but takes N steps of length 1/N.
    """
    _check(num_steps, eps, t_max)
    return tuple(np.linspace(t_max, eps, num_steps + 1).tolist())


def quadratic(num_steps: int, eps: float, t_max: float = 1.0) -> tuple[float, ...]:
    """Equal steps in sqrt(t) from `t_max` to `eps`: num_steps + 1 times.

    Source: Song et al., "Denoising Diffusion Implicit Models", ICLR 2021, appendix D.2.
    """
    _check(num_steps, eps, t_max)
    return _exact_ends(np.linspace(np.sqrt(t_max), np.sqrt(eps), num_steps + 1) ** 2, eps, t_max)


def log_snr(sde: SDE, num_steps: int, eps: float, t_max: float = 1.0) -> tuple[float, ...]:
    """Equal steps in `lambda(t) = log(mean_coeff(t) / std(t))` from `t_max` to `eps`: num_steps + 1 times.

    For a chain: `num_steps` of its levels up to `t_max`, then -1; `eps` is ignored. Errors: see `spaced`.
    Source: Lu et al., "DPM-Solver", NeurIPS 2022, section 3.2.
    """
    return spaced(sde, lambda t: -np.log(noise_level(sde, t)), num_steps, eps, t_max)


def polynomial(sde: SDE, num_steps: int, eps: float, t_max: float = 1.0, rho: float = 7.0) -> tuple[float, ...]:
    """Equal steps in `sigma(t)^(1 / rho)`, `sigma = std / mean_coeff`, from `t_max` to `eps`: num_steps + 1 times.

    For a chain: `num_steps` of its levels up to `t_max`, then -1; `eps` is ignored. Errors: see `spaced`.
    Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022, equation 5.
    """
    return spaced(sde, lambda t: noise_level(sde, t) ** (1 / rho), num_steps, eps, t_max)


def spaced(sde: SDE, coordinate: Coordinate, num_steps: int, eps: float, t_max: float = 1.0) -> tuple[float, ...]:
    """Equal steps in `coordinate` from `t_max` to `eps`, found by bisection in double precision: num_steps + 1 times.

    For a chain: the `num_steps` distinct levels nearest to equal steps from the noisiest of those up to `t_max` to the
    least noisy, then -1. Errors: ValueError for a coordinate that is infinite at eps, for times that are equal in
    float32, and for more steps than a chain has such levels.
    """
    if sde.is_discrete:
        return _chosen_levels(sde, coordinate, num_steps, t_max)
    _check(num_steps, eps, t_max)
    with np.errstate(divide="ignore"):
        first, last = coordinate(np.array([t_max, eps]))
    if not np.isfinite(first) or not np.isfinite(last):
        raise ValueError(f"This grid ends where the data have no noise (eps = {eps}); use an eps > 0.")
    target, sign = np.linspace(first, last, num_steps + 1), np.sign(first - last)
    low, high = np.full(num_steps + 1, eps), np.full(num_steps + 1, t_max)
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = sign * coordinate(middle) > sign * target
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return _exact_ends(high, eps, t_max)


def noise_level(sde: SDE, t: np.ndarray) -> np.ndarray:
    """sigma(t) = std(t) / mean_coeff(t) at times [K], as float64 with the precision of the SDE."""
    with jax.ensure_compile_time_eval():  # concrete numbers, even if the caller is traced
        times = jnp.asarray(t)
        return np.asarray(sde.std(times), np.float64) / np.asarray(sde.mean_coeff(times), np.float64)


def levels(num_scales: int, eps: float = 0.0) -> tuple[float, ...]:
    """Every level of a chain from the noisiest down, and then -1 for its data: num_scales + 1 times.

    t_k = 1 - k (1 - eps) / (N - 1), k = 0 ... N - 1, rounded up to the nearest float32 for which
    trunc(t_k (N - 1)) = N - 1 - k holds in float32 arithmetic.

    `eps`: the time passed to the score function at the least noise; a network trained in continuous time needs eps > 0.
    Errors: ValueError for fewer than two levels, and unless 0 <= eps < 1 / (N - 1).
    Source: the times of the samplers of Song et al. 2021; algorithms 2 to 5 (level i to level i - 1).
    """
    if num_scales < 2 or not 0 <= eps * (num_scales - 1) < 1:
        raise ValueError(f"A chain needs num_scales >= 2 and 0 <= eps < 1 / (num_scales - 1), not {num_scales}, {eps}.")
    scale = np.float32(num_scales - 1)
    times = []
    for k, exact in enumerate(np.linspace(1.0, eps, num_scales)):
        t = np.float32(exact)
        while t * scale < scale - k:
            t = np.nextafter(t, np.float32(np.inf))
        times.append(float(t))
    return (*times, -1.0)


def _check(num_steps: int, eps: float, t_max: float) -> None:
    if num_steps < 1 or not 0 <= eps < t_max:
        raise ValueError(f"A grid needs num_steps >= 1 and 0 <= eps < t_max, not {num_steps}, {eps}, {t_max}.")


def _exact_ends(times: np.ndarray, eps: float, t_max: float) -> tuple[float, ...]:
    """The times with exact ends. Errors: ValueError if two of them are equal in float32."""
    times = np.concatenate([[t_max], times[1:-1], [eps]])
    if not np.all(np.diff(times.astype(np.float32)) < 0):
        raise ValueError(
            f"{len(times) - 1} steps of this grid are too close for float32; use fewer steps, or the grid 'uniform'."
        )
    return tuple(times.tolist())


def levels_up_to(num_scales: int, t_max: float) -> tuple[float, ...]:
    """The levels of a chain up to the time `t_max`, from the noisiest down, and -1."""
    half = 0.5 / (num_scales - 1)  # of the distance between two levels
    return tuple(t for t in levels(num_scales) if t < t_max + half)


def _chosen_levels(sde: SDE, coordinate: Coordinate, num_steps: int, t_max: float) -> tuple[float, ...]:
    """The `num_steps` distinct levels of a chain nearest to equal steps of the coordinate, and -1."""
    times = np.asarray(levels_up_to(sde.num_scales, t_max)[:-1])  # from the noisiest down
    if not 1 <= num_steps <= len(times):
        raise ValueError(f"A chain of {len(times)} levels supports 1 to {len(times)} steps, not {num_steps}.")
    u = coordinate(times)
    target = np.linspace(u[0], u[-1], num_steps)
    chosen = np.abs(u[None, :] - target[:, None]).argmin(axis=1)
    for k in range(1, num_steps):  # make them distinct: move down where two targets share their nearest level,
        chosen[k] = max(chosen[k], chosen[k - 1] + 1)
    for k in range(num_steps):  # and up again beyond the last level
        chosen[k] = min(chosen[k], len(times) - num_steps + k)
    return (*times[chosen].tolist(), -1.0)


def _in_time(make: Callable[..., tuple[float, ...]], coordinate: Coordinate) -> "Grid":
    """A grid that is defined by the time itself, and its like for chains."""

    def grid(sde: SDE, num_steps: int, eps: float, t_max: float = 1.0) -> tuple[float, ...]:
        if sde.is_discrete:
            return spaced(sde, coordinate, num_steps, eps, t_max)
        return make(num_steps, eps, t_max)

    return grid


class Grid(Protocol):
    """The times of `num_steps` steps from `t_max` to `eps`, for SDEs in continuous time and for chains."""

    def __call__(self, sde: SDE, num_steps: int, eps: float, t_max: float = 1.0) -> tuple[float, ...]:
        """num_steps + 1 times."""
        ...


GRIDS: dict[str, Grid] = {
    "uniform": _in_time(uniform, lambda t: t),
    "quadratic": _in_time(quadratic, np.sqrt),
    "log_snr": log_snr,
    "polynomial": polynomial,
}
IN_TIME = ("uniform", "quadratic")  # defined by the time itself, not by the noise level

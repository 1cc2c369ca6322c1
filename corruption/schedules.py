"""Schedules of categorical corruption: the share of sites that have lost their data, as a function of time.

A schedule goes from 0 at t = 0 to 1 at t = 1. What is lost and what is kept are computed separately, each without
cancellation.
"""

import dataclasses
from typing import Protocol

import jax.numpy as jnp

from core.arrays import Array
from sde.times import Quantile

SMALLEST, LARGEST = 1e-7, 1 - 1e-6  # noise of random times: what float32 tells from 0 and from 1


class Schedule(Protocol):
    """The noise of a categorical process at times t in [0, 1], [B] each."""

    def noise(self, t: Array) -> Array:
        """The probability that a site has lost its data, increasing from 0 to 1."""
        ...

    def kept(self, t: Array) -> Array:
        """`1 - noise(t)`."""
        ...

    def slope(self, t: Array) -> Array:
        """The derivative of the noise."""
        ...

    def time(self, noise: Array) -> Array:
        """The inverse of `noise`."""
        ...


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """`noise = t^power`; linear for power 1. Source: Shi et al., NeurIPS 2024 (MD4), table 4."""

    power: float = 1.0

    def noise(self, t: Array) -> Array:
        """`t^power`."""
        return t**self.power

    def kept(self, t: Array) -> Array:
        """`1 - t^power`."""
        return -jnp.expm1(self.power * jnp.log(t))

    def slope(self, t: Array) -> Array:
        """`power t^(power - 1)`."""
        return self.power * t ** (self.power - 1)

    def time(self, noise: Array) -> Array:
        """`noise^(1 / power)`."""
        return noise ** (1 / self.power)


@dataclasses.dataclass(frozen=True)
class Cosine:
    """`noise = sin^2(pi t / 2)`, `kept = cos^2(pi t / 2)`.

    Source: Nichol and Dhariwal, ICML 2021, equation 17, with the offset 0, which a process in continuous time does not
    need.
    """

    def noise(self, t: Array) -> Array:
        """`sin^2(pi t / 2)`."""
        return jnp.sin(jnp.pi / 2 * t) ** 2

    def kept(self, t: Array) -> Array:
        """`cos^2(pi t / 2)`, by the sine of 1 - t."""
        return jnp.sin(jnp.pi / 2 * (1 - t)) ** 2

    def slope(self, t: Array) -> Array:
        """`(pi / 2) sin(pi t)`."""
        return jnp.pi * jnp.sin(jnp.pi / 2 * t) * jnp.sin(jnp.pi / 2 * (1 - t))

    def time(self, noise: Array) -> Array:
        """`(2 / pi) arcsin(sqrt(noise))`."""
        return 2 / jnp.pi * jnp.arcsin(jnp.sqrt(noise))


def uniform_noise(schedule: Schedule) -> Quantile:
    """Times at which the noise is uniform in [0, 1], with the density `slope(t)`.

    The bound of a categorical process is an integral over the noise, so with these times its terms do not depend on
    the schedule. They have all of its range: no smallest time is left out.
    """

    def quantile(u: Array) -> tuple[Array, Array]:
        t = schedule.time(jnp.clip(u, SMALLEST, LARGEST))
        return t, 1 / schedule.slope(t)

    return quantile

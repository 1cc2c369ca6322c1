"""Random heads made of ellipsoids, each a function of its number: what the phantoms are slices of.

A head is a bright shell around gray matter, with two dark ventricles and a few structures of any brightness. Its
surfaces are a little soft. Coordinates (z, y, x) are in [-1, 1]; all of the head is within the ball of radius 0.95.
"""

from typing import NamedTuple

import numpy as np

SHELL, MATTER, VENTRICLE = 0.9, 0.35, 0.08  # brightness
Points = np.ndarray  # [..., 3]


class Ellipsoid(NamedTuple):
    """Points p with |R^T (p - center) / half_axes| < 1 get `brightness` in place of what is there."""

    center: np.ndarray  # [3]
    half_axes: np.ndarray  # [3]
    rotation: np.ndarray  # [3, 3], R
    brightness: float

    def inside(self, points: Points, softness: float) -> np.ndarray:
        """How far points are inside, from 0 to 1: 1 / 2 at the surface, which is `softness` wide."""
        from_center = np.moveaxis(points, -1, 0).reshape(3, -1) - self.center[:, None]
        local = self.rotation.T @ from_center / self.half_axes[:, None]
        radius = np.sqrt((local**2).sum(axis=0)).reshape(points.shape[:-1])
        depth = (1 - radius) * self.half_axes.min()
        return 1 / (1 + np.exp(np.clip(-4 * depth / softness, -50, 50)))


def head(rng: np.random.Generator) -> list[Ellipsoid]:
    """The ellipsoids of a random head, from the outside to the inside."""
    center = rng.uniform(-0.04, 0.04, 3)
    half_axes = np.array([0.85, 0.85, 0.68]) * rng.uniform(0.92, 1.06, 3)
    tilt = _turn(rng.uniform(-0.15, 0.15))
    parts = [
        Ellipsoid(center, half_axes, tilt, SHELL),
        Ellipsoid(center, half_axes - rng.uniform(0.06, 0.1), tilt, MATTER + rng.uniform(-0.05, 0.05)),
    ]
    size, apart = rng.uniform(0.8, 1.25), rng.uniform(0.17, 0.24)
    for side in (-1, 1):
        place = np.array([0.0, rng.uniform(-0.05, 0.1), side * apart]) * half_axes
        axes = size * np.array([0.4, 0.3, 0.11]) * rng.uniform(0.85, 1.15, 3)
        turn = tilt @ _turn(side * rng.uniform(0.1, 0.5))
        parts.append(Ellipsoid(center + tilt @ place, axes, turn, VENTRICLE))
    for _ in range(rng.integers(3, 8)):
        parts.append(_structure(rng, center, half_axes, tilt))
    return parts


def render(parts: list[Ellipsoid], points: Points, softness: float) -> np.ndarray:
    """The brightness in [0, 1] at points [..., 3]; ellipsoids cover those before them."""
    found = np.zeros(points.shape[:-1])
    for part in parts:
        inside = part.inside(points, softness)
        found += inside * (part.brightness - found)
    return found


def _structure(rng: np.random.Generator, center: np.ndarray, half_axes: np.ndarray, tilt: np.ndarray) -> Ellipsoid:
    direction = rng.normal(size=3)
    direction *= rng.uniform(0.2, 0.65) / np.linalg.norm(direction)
    axes = rng.uniform(0.06, 0.2, 3)
    turn, brightness = tilt @ _turn(rng.uniform(0, np.pi)), rng.uniform(0.05, 1.0)
    return Ellipsoid(center + tilt @ (direction * half_axes), axes, turn, brightness)


def _turn(angle: float) -> np.ndarray:
    """The rotation about the axis z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])

"""Which frequencies an MRI scan measures: masks for `fourier`, `complex_fourier` and `sense`, of any rank.

Every mask is bool [*sides, 1] in the order of `fftn` (zero frequency first) and has about a share `kept` of the
frequencies: 1 / 4 of them for a fourfold acceleration.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np


def random_lines(sides: Sequence[int], kept: float, center: float, seed: int = 0) -> np.ndarray:
    """Cartesian: the lowest share `center` of the positions along the last side, and random others.

    A position is a whole line of an image or plane of a volume. There are round(kept n) of n positions, or those of the
    center if they are more.
    """
    rng = np.random.default_rng(seed)
    return _lines(sides, kept, center, lambda others, num: rng.choice(others, num, replace=False))


def equispaced_lines(sides: Sequence[int], kept: float, center: float, seed: int = 0) -> np.ndarray:
    """Cartesian, as `random_lines`, but the other positions are evenly spaced, from a random offset."""

    def choose(others: np.ndarray, num: int) -> np.ndarray:
        offset = np.random.default_rng(seed).random()
        return others[((np.arange(num) + offset) * len(others) / max(num, 1)).astype(int)]

    return _lines(sides, kept, center, choose)


def random_points(sides: Sequence[int], kept: float, center: float, seed: int = 0) -> np.ndarray:
    """The lowest share `center` of all frequencies, and random others: round(kept n) of n together."""
    rng = np.random.default_rng(seed)
    known = np.zeros(math.prod(sides), bool)
    known[_chosen(_by_radius(sides), kept, center, lambda others, num: rng.choice(others, num, replace=False))] = True
    return known.reshape(*sides, 1)


def radial(sides: Sequence[int], kept: float, center: float = 0.0, seed: int = 0) -> np.ndarray:
    """Spokes through the zero frequency, rounded to the grid, until a share `kept` of the frequencies is measured.

    Images: spoke i at the angle i pi (sqrt(5) - 1) / 2. Volumes: directions of a low-discrepancy sequence on the half
    sphere. All frequencies up to the radius of a disk or ball with the share `center` are measured, too.
    Errors: ValueError for a series, whose only spoke has all frequencies.
    Source: Winkelmann et al., IEEE Trans. Med. Imaging 26, 2007, section II; Chan et al., MRM 61, 2009, for volumes.
    """
    if len(sides) < 2:
        raise ValueError(
            f"A radial pattern needs images or volumes, but the sides are {tuple(sides)}; use random_points."
        )
    del seed  # nothing is random
    known = np.zeros(math.prod(sides), bool)
    known[_chosen(_by_radius(sides), kept, center, lambda others, num: others[:0])] = True
    known = known.reshape(sides)
    reach = np.linspace(-0.5, 0.5, 4 * max(sides), endpoint=False)[:, None]
    spoke = 0
    while known.mean() < kept:
        positions = np.round(reach * _direction(spoke, len(sides)) * np.array(sides)).astype(int)
        known[tuple(positions.T)] = True  # negative frequencies are negative indices
        spoke += 1
    return known[..., None]


def _direction(i: int, rank: int) -> np.ndarray:
    """The direction of spoke i, scaled so that its largest component is one."""
    if rank == 2:
        angle = i * math.pi * (math.sqrt(5) - 1) / 2
        direction = np.array([math.cos(angle), math.sin(angle)])
    else:
        height, azimuth = (i * 0.4656) % 1.0, 2 * math.pi * ((i * 0.6823) % 1.0)
        radius = math.sqrt(1 - height**2)
        direction = np.array([height, radius * math.cos(azimuth), radius * math.sin(azimuth)])
    return direction / np.abs(direction).max()


def _lines(
    sides: Sequence[int], kept: float, center: float, choose: Callable[[np.ndarray, int], np.ndarray]
) -> np.ndarray:
    num = sides[-1]
    order = np.argsort(np.abs(np.fft.fftfreq(num)), kind="stable")
    known = np.zeros((*sides, 1), bool)
    known[..., _chosen(order, kept, center, choose), :] = True
    return known


def _chosen(
    order: np.ndarray, kept: float, center: float, choose: Callable[[np.ndarray, int], np.ndarray]
) -> np.ndarray:
    """The first of `order`, from the lowest frequency upwards, and `choose` of the others, which it gets sorted.

    Errors: ValueError for shares that are none.
    """
    if not 0 < kept <= 1 or not 0 <= center <= 1:
        raise ValueError(f"kept = {kept:g} and center = {center:g}, but both are shares of the frequencies, up to 1.")
    num_center = round(center * len(order))
    num_others = max(round(kept * len(order)) - num_center, 0)
    return np.concatenate([order[:num_center], choose(np.sort(order[num_center:]), num_others)])


def _by_radius(sides: Sequence[int]) -> np.ndarray:
    """The indices of all frequencies, flattened, from the lowest upwards."""
    frequencies = np.meshgrid(*(np.fft.fftfreq(side) for side in sides), indexing="ij")
    return np.argsort(np.sqrt(sum(np.square(f) for f in frequencies)), axis=None, kind="stable")


PATTERNS: dict[str, Callable[[Sequence[int], float, float, int], np.ndarray]] = {
    "random_lines": random_lines,
    "equispaced_lines": equispaced_lines,
    "random_points": random_points,
    "radial": radial,
}
